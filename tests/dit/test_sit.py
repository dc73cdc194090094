"""The SiT: its block against a second way of writing it, its published sizes, and its directions of time."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from unimm.alignment import Projectors
from unimm.dit.bodies import body_classes
from unimm.dit.presets import preset
from unimm.dit.sit import SiT, SiTConfig

CONFIG = SiTConfig(
    channels=3, width=24, depth=3, heads=2, condition_width=24, grid=6, num_classes=5, learn_sigma=True
)


def awake(config=CONFIG):
    """Return a network whose zero-initialised layers have something to say."""
    sit, generator = SiT(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return sit


def inputs(batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 36, 3, generator=generator)
    return x, torch.rand(batch, generator=generator), torch.tensor([4, 0][:batch])


def written_out(sit, x, t, labels):
    """The network as its papers draw it, on maps [B C rows columns] and heads one by one."""
    weight, bias = sit.embed.weight.unflatten(1, (3, 2, 2)), sit.embed.bias
    h = F.conv2d(x.mT.unflatten(2, (6, 6)), weight, bias, stride=2).flatten(2).mT + sit.positions
    frequencies = 10000.0 ** (-torch.arange(128) / 128)
    angles = t[:, None] * frequencies
    time = sit.time.out(F.silu(sit.time.hidden(torch.cat([angles.cos(), angles.sin()], 1))))
    condition = F.silu(time + sit.labels.table.weight[labels])[:, None]
    norm = lambda h: (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()  # noqa: E731
    for block in sit.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = F.linear(
            condition, block.modulation.weight, block.modulation.bias
        ).split(24, -1)
        q, k, v = block.attention.qkv(norm(h) * (1 + scale1) + shift1).split(24, -1)
        heads = [
            ((q[..., s] @ k[..., s].mT) / 12**0.5).softmax(-1) @ v[..., s] for s in (slice(12), slice(12, 24))
        ]
        h = h + gate1 * block.attention.out(torch.cat(heads, -1))
        inner = block.mlp.hidden(norm(h) * (1 + scale2) + shift2)
        gelu = inner / 2 * (1 + ((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)).tanh())
        h = h + gate2 * block.mlp.out(gelu)
    shift, scale = sit.final.modulation(condition).split(24, -1)
    patches = sit.final.out(norm(h) * (1 + scale) + shift).unflatten(2, (2, 2, 6)).unflatten(1, (3, 3))
    return torch.einsum("bijpqc->bipjqc", patches)[..., :3].flatten(1, 4)


def test_it_is_the_network_of_the_papers():
    sit = awake()
    torch.testing.assert_close(sit(*inputs()), written_out(sit, *inputs()), atol=1e-5, rtol=1e-5)


def test_a_fresh_network_predicts_no_velocity():
    x, t, labels = inputs()
    assert torch.equal(SiT(CONFIG)(x, t, labels), torch.zeros_like(x))


def test_a_dropped_label_is_the_null_label():
    sit = awake()
    x, t, labels = inputs()
    dropped = sit(x, t, labels, torch.tensor([True, False]))
    assert torch.equal(dropped[1], sit(x, t, labels)[1])
    with torch.no_grad():
        sit.labels.table.weight[4] = sit.labels.table.weight[5]
    assert torch.equal(dropped[0], sit(x, t, labels)[0])


def test_reversed_time_is_one_minus_t():
    x, t, labels = inputs()
    turned = awake(dataclasses.replace(CONFIG, time_reversed=True))
    torch.testing.assert_close(turned(x, 1 - t, labels), awake()(x, t, labels))


def test_scaled_time_is_a_step():
    x, t, labels = inputs()
    scaled, plain = awake(dataclasses.replace(CONFIG, time_scale=999.0)), awake()
    faster = plain.time(t, 999 * plain.frequencies)
    torch.testing.assert_close(scaled.time(t, scaled.frequencies), faster, atol=1e-3, rtol=0)


def test_hidden_states_are_those_after_the_named_blocks():
    sit = awake().eval()
    v, (second, first) = sit.features(*inputs(), at=[2, 1])
    assert first.shape == second.shape == (2, 9, 24)
    assert torch.equal(v, sit(*inputs()))
    condition = F.silu(sit.time(inputs()[1], sit.frequencies) + sit.labels(inputs()[2]))[:, None]
    torch.testing.assert_close(sit.blocks[1](first, condition, sit.rope_cos, sit.rope_sin), second)
    with pytest.raises(ValueError, match="at: expected block numbers from 1 to 3, got .4."):
        sit.features(*inputs(), at=[4])


def test_checkpointed_gradients_are_the_same():
    gradients = []
    for checkpointing in (False, True):
        sit = awake().train()
        sit.gradient_checkpointing = checkpointing
        v, [hidden] = sit.features(*inputs(), at=[2])
        (v.square().sum() + hidden.square().sum()).backward()
        gradients.append({name: p.grad for name, p in sit.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, t, y: (x[:, :9], t, y), r"x: expected \[B N C\] with N=36, got 9"),
        (lambda x, t, y: (x, t, y + 1), "labels: expected 0 to 4, got 1 to 5"),
        (lambda x, t, y: (x, t, y[:1]), r"conditions: expected \[B\] with B=2, got 1"),
    ],
)
def test_the_door_refuses(change, said):
    with pytest.raises(ValueError, match=said):
        awake()(*change(*inputs()))


@pytest.mark.parametrize(
    ("name", "millions"),
    [("S/2", 33.0), ("B/2", 130.5), ("L/2", 458.1), ("XL/2", 675.1), ("XL/2 512", 676.0)],
)
def test_published_sizes_have_the_published_numbers_of_parameters(name, millions):
    kind, config = preset(f"SiT-{name}")
    with torch.device("meta"):
        sit = body_classes(kind)[1](config)
    assert isinstance(sit, SiT)
    # The papers count the fixed position table too.
    count = sum(p.numel() for p in sit.parameters()) + (config.grid // 2) ** 2 * config.width
    assert round(count / 1e6, 1) == millions


def test_repas_xl_has_683_2_million_parameters_with_its_projector():
    _, config = preset("SiT-XL/2")
    with torch.device("meta"):
        count = sum(p.numel() for m in (SiT(config), Projectors(1152, (768,))) for p in m.parameters())
    assert round((count + 256 * 1152) / 1e6, 1) == 683.2
