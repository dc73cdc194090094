"""The MM-DiT: its contract, its tables, and special cases that other networks compute too."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.dit.blocks import Block
from unimm.dit.joint import JointBlock
from unimm.dit.mmdit import MMDiT, MMDiTConfig, TextConditions

CONFIG = MMDiTConfig(
    channels=3, width=32, depth=3, heads=2, grid=8, sequence_width=12, pooled_width=5, patch_size=2,
    qk_norm=True, dual_blocks=(0,), max_grid=16,
)  # fmt: skip
SIZE = (6, 10)


def awake(module):
    """Give the zero-initialised layers something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module


@pytest.fixture
def dit():
    return awake(MMDiT(CONFIG))


def inputs(batch=2, size=SIZE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(batch, *shape, generator=generator)  # noqa: E731
    x, text = draw(size[0] * size[1], 3), TextConditions(draw(7, 12), draw(5))
    return x, torch.rand(batch, generator=generator), text


def test_a_fresh_model_predicts_no_velocity_and_its_blocks_are_the_identity():
    dit = MMDiT(CONFIG)
    x, t, text = inputs()
    assert torch.equal(dit(x, t, text, size=SIZE), torch.zeros_like(x))
    streams = torch.randn(2, 15, 32), torch.randn(2, 7, 32)
    for block in dit.blocks:
        assert all(map(torch.equal, block(*streams, torch.randn(2, 1, 32)), streams))


def test_every_parameter_has_a_gradient_but_the_queries_of_text_that_ends(dit):
    dit(*inputs(), size=SIZE).square().sum().backward()
    without = [name for name, p in dit.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["blocks.2.text.projection.q_norm.weight"]
    queries, rest = dit.blocks[2].text.projection.qkv.weight.grad.split([32, 64])
    assert not queries.any()
    assert rest.any(dim=1).all()


def test_with_one_set_of_weights_it_is_a_plain_block_over_both_sequences():
    joint = awake(JointBlock(32, 2, qk_norm=True))
    joint.text.load_state_dict(joint.image.state_dict())
    plain = Block(32, 2, 32, norm="layer", mlp="gelu", qk_norm=True, rope=False)
    renamed = {k.replace("projection", "attention"): x for k, x in joint.image.state_dict().items()}
    plain.load_state_dict(
        {k.replace("out.", "attention.out.") if k.startswith("out.") else k: x for k, x in renamed.items()}
    )
    image, text, condition = torch.randn(2, 6, 32), torch.randn(2, 5, 32), torch.randn(2, 1, 32)
    both = plain(torch.cat([image, text], dim=1), condition, image, image)
    torch.testing.assert_close(torch.cat(joint(image, text, condition), dim=1), both, atol=1e-4, rtol=1e-4)


def test_a_dual_block_without_text_is_a_block_with_twice_the_attention():
    plain, dual = awake(JointBlock(32, 2, last=True)).image, JointBlock(32, 2, last=True, dual=True).image
    state = dict(plain.state_dict())
    shift, scale, gate, *others = state.pop("modulation.weight").chunk(6)
    b_shift, b_scale, b_gate, *b_others = state.pop("modulation.bias").chunk(6)
    second = {k.replace("projection", "second"): x for k, x in state.items() if "projection" in k}
    second |= {f"second.{k}": x for k, x in state.items() if k.startswith("out.")}
    dual.load_state_dict(
        state | second | {
            "modulation.weight": torch.cat([shift, scale, gate, *others, shift, scale, gate]),
            "modulation.bias": torch.cat([b_shift, b_scale, b_gate, *b_others, b_shift, b_scale, b_gate]),
        }
    )  # fmt: skip
    plain.load_state_dict(
        state | {
            "modulation.weight": torch.cat([shift, scale, 2 * gate, *others]),
            "modulation.bias": torch.cat([b_shift, b_scale, 2 * b_gate, *b_others]),
        }
    )  # fmt: skip
    x, condition = torch.randn(2, 6, 32), torch.randn(2, 1, 32)

    def alone(stream):
        (q, k, v), rest = stream.enter(x, condition)
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return stream.leave(x, attended, rest)

    torch.testing.assert_close(alone(dual), alone(plain), atol=1e-4, rtol=1e-4)


def test_text_has_no_order_of_its_own_but_image_places_matter(dit):
    x, t, text = inputs()
    v = dit(x, t, text, size=SIZE)
    turned = TextConditions(text.sequence.flip(1), text.pooled)
    torch.testing.assert_close(dit(x, t, turned, size=SIZE), v, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(dit(x.flip(1), t, text, size=SIZE).flip(1), v, atol=1e-3)


@pytest.mark.parametrize("change", ["sequence", "pooled", "t", "size"])
def test_everything_told_is_heard(dit, change):
    x, t, text = inputs()
    v = dit(x, t, text, size=SIZE)
    if change == "t":
        other = dit(x, t / 2, text, size=SIZE)
    elif change == "size":
        other = dit(x, t, text, size=SIZE[::-1])
    else:
        other = dit(x, t, dataclasses.replace(text, **{change: getattr(text, change) + 1}), size=SIZE)
    assert not torch.allclose(other, v, atol=1e-3)


def test_a_sample_does_not_see_its_batch(dit):
    x, t, text = inputs(batch=3)
    rows = [slice(i, i + 1) for i in range(3)]
    alone = [dit(x[i], t[i], TextConditions(text.sequence[i], text.pooled[i]), size=SIZE) for i in rows]
    torch.testing.assert_close(dit(x, t, text, size=SIZE), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_a_block_left_out_is_a_block_that_does_nothing(dit):
    skipped = dit(*inputs(), size=SIZE, skip_layers=(1,))
    assert not torch.allclose(skipped, dit(*inputs(), size=SIZE), atol=1e-3)
    with torch.no_grad():
        for stream in (dit.blocks[1].image, dit.blocks[1].text):
            for parameter in stream.modulation.parameters():
                parameter.zero_()
    torch.testing.assert_close(dit(*inputs(), size=SIZE), skipped)


def test_hidden_states_come_with_the_velocity_in_the_order_asked(dit):
    v, (last, first) = dit.features(*inputs(), at=[3, 1], size=SIZE)
    torch.testing.assert_close(v, dit(*inputs(), size=SIZE))
    assert first.shape == last.shape == (2, 15, 32)
    x, t, text = inputs()
    *_, [before] = dit.features(x, t, text, at=[1], size=SIZE, skip_layers=(1, 2))
    torch.testing.assert_close(first, before)
    assert not torch.allclose(first, last, atol=1e-3)


def test_checkpointing_keeps_less_and_changes_no_gradient(dit):
    def gradients_and_kept():
        dit.zero_grad()
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            v = dit(*inputs(), size=SIZE)
        v.square().sum().backward()
        return {name: p.grad.clone() for name, p in dit.named_parameters()}, len(kept)

    dit.train()
    plain, kept_plainly = gradients_and_kept()
    dit.gradient_checkpointing = True
    gradients, kept = gradients_and_kept()
    assert 4 * kept < kept_plainly
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, plain[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": (6, 9)}, "size: expected rows x columns = N = 60, got 6 x 9 = 54"),
        ({"size": None}, "got 8 x 8 = 64"),
        ({"size": (5, 12)}, "multiples of the patch size 2, got 5 x 12"),
        ({"size": (2, 30)}, r"expected 1 to 8 patches per side, got 1 x 15.*max_grid"),
        ({"dropped": torch.tensor([True, False])}, "dropped: expected None"),
        ({"skip_layers": (3,)}, r"skip_layers: expected block numbers from 0 to 2, got \[3\]"),
    ],
)
def test_the_door_refuses(dit, change, said):
    with pytest.raises(ValueError, match=said):
        dit(*inputs(), **{"size": SIZE} | change)


def test_the_door_refuses_other_widths(dit):
    x, t, text = inputs()
    for sequence, pooled, said in (
        (text.sequence[..., :3], text.pooled, r"conditions.sequence: expected \[B L S\] with S=12, got 3"),
        (text.sequence, text.pooled[:1], r"conditions.pooled: expected \[B P\] with B=2, got 1"),
    ):
        with pytest.raises(ValueError, match=said):
            dit(x, t, TextConditions(sequence, pooled), size=SIZE)
    with pytest.raises(ValueError, match=r"at: expected block numbers from 1 to 3, got \[0\]"):
        dit.features(x, t, text, [0], size=SIZE)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"width": 34}, "dit.width: expected a multiple of heads = 2 and, for the position table, of 4"),
        ({"depth": 0}, "dit.depth: expected a positive number"),
        ({"grid": 7}, "dit.grid: expected a multiple of patch_size = 2, got 7"),
        ({"max_grid": 6}, "dit.max_grid: expected at least the grid 8, got 6"),
        ({"dual_blocks": (0, 3)}, r"dit.dual_blocks: expected numbers from 0 to 2, got \[3\]"),
        ({"positions": "centered"}, "did you mean 'centred'"),
    ],
)
def test_the_config_refuses_what_cannot_be_built(sizes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **sizes)


def test_tables_stay_float32_and_out_of_checkpoints_unless_they_are_its_own(dit):
    assert not [name for name in dit.state_dict() if "positions" in name or "frequencies" in name]
    stored = MMDiT(dataclasses.replace(CONFIG, positions="stored"))
    assert [name for name in stored.state_dict() if "positions" in name] == [
        "positions.columns", "positions.rows"
    ]  # fmt: skip
    stored.positions.columns += 0.123
    for model in (dit, stored):
        before = model.positions(5, 4)
        model.to(torch.bfloat16)
        assert model.embed.weight.dtype == torch.bfloat16
        assert torch.equal(model.positions(5, 4), before)
        assert model.frequencies.dtype == torch.float32
        x, t, text = inputs()
        v = model(x.bfloat16(), t, text, size=SIZE)
        assert v.dtype == torch.bfloat16
        assert v.isfinite().all()


@pytest.mark.parametrize("rule", ["centred", "stored"])
def test_a_model_made_on_the_meta_device_gets_its_tables_when_it_is_given_memory(rule):
    dit = awake(MMDiT(dataclasses.replace(CONFIG, positions=rule)))
    with torch.device("meta"):
        empty = MMDiT(dit.config)
    empty.to_empty(device="cpu")
    empty.load_state_dict(dit.state_dict())
    assert torch.equal(empty(*inputs(), size=SIZE), dit(*inputs(), size=SIZE))


def test_under_autocast_it_stays_close_to_float32(dit):
    with torch.autocast("cpu", torch.bfloat16):
        v = dit(*inputs(), size=SIZE)
    exact = dit(*inputs(), size=SIZE)
    assert (v.float() - exact).norm() < 0.03 * exact.norm()


def test_the_whole_forward_is_one_graph_for_every_size():
    dit = awake(MMDiT(dataclasses.replace(CONFIG, depth=2)))
    compiled = torch.compile(dit, fullgraph=True, dynamic=False, backend="eager")
    for size in (SIZE, (8, 8)):
        x, t, text = inputs(size=size)
        torch.testing.assert_close(compiled(x, t, text, size=size), dit(x, t, text, size=size))
