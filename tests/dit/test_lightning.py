"""The LightningDiT: its contract, its conditioning, and two ways that must agree."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.dit import DiTConfig, LightningDiT
from unimm.dit.attention import attend, attend_plainly
from unimm.dit.rope import rope_angles, rotate
from unimm.dit.time import fourier_frequencies

CONFIG = DiTConfig(channels=6, width=32, depth=2, heads=2, condition_width=12, grid=3)


@pytest.fixture
def dit():
    return awake(LightningDiT(CONFIG))


def awake(dit):
    """Give the zero-initialised layers something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return dit


def inputs(batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 9, 6, generator=generator)
    return x, torch.rand(batch, generator=generator), torch.randn(batch, 9, 12, generator=generator)


def test_a_fresh_model_predicts_no_velocity_and_its_blocks_are_the_identity():
    dit = LightningDiT(CONFIG)
    x, t, conditions = inputs()
    assert torch.equal(dit(x, t, conditions), torch.zeros_like(x))
    h = torch.randn(2, 9, 32)
    assert torch.equal(dit.blocks[0](h, conditions, dit.rope_cos, dit.rope_sin), h)


def test_every_parameter_but_the_null_condition_has_a_gradient(dit):
    dit(*inputs()).square().sum().backward()
    without = [name for name, p in dit.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["null_condition"]


def test_a_dropped_condition_is_the_null_condition_and_trains_it(dit):
    x, t, conditions = inputs()
    dropped = dit.drop_conditions(conditions, torch.tensor([True, False]))
    assert torch.equal(dropped[0], dit.null_condition.expand(9, -1))
    assert torch.equal(dropped[1], conditions[1])
    dit(x, t, dropped).sum().backward()
    assert dit.null_condition.grad.any()


def test_a_model_without_null_condition_says_that_it_cannot_be_guided():
    dit = LightningDiT(dataclasses.replace(CONFIG, guidable=False))
    assert "null_condition" not in dit.state_dict()
    with pytest.raises(ValueError, match="guidance_scale"):
        dit.drop_conditions(torch.zeros(1, 9, 12), torch.tensor([True]))


def test_condition_and_position_of_a_token_matter(dit):
    x, t, conditions = inputs()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    v = dit(x, t, conditions)
    assert not torch.allclose(dit(x, t, conditions[:, order]), v, atol=1e-3)
    assert not torch.allclose(dit(x[:, order], t, conditions[:, order]), v[:, order], atol=1e-3)


def test_a_sample_does_not_see_its_batch(dit):
    x, t, conditions = inputs(batch=4)
    alone = torch.cat([dit(x[i : i + 1], t[i : i + 1], conditions[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(dit(x, t, conditions), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, t, c: (x[:, :8], t, c), r"x: expected \[B N C\] with N=9, got 8"),
        (lambda x, t, c: (x[..., :5], t, c), "with C=6, got 5"),
        (lambda x, t, c: (x, t, c[:, :8]), r"conditions: expected \[B N Z\] with N=9, got 8"),
        (lambda x, t, c: (x, t, c[..., :3]), "with Z=12, got 3"),
        (lambda x, t, c: (x, t[:1], c), "t: expected"),
    ],
)
def test_the_door_refuses_other_sizes(dit, change, said):
    with pytest.raises(ValueError, match=said):
        dit(*change(*inputs()))


@pytest.mark.parametrize(
    ("sizes", "said"), [({"width": 30}, "dit.width: expected a multiple of 4"), ({"depth": 0}, "dit.depth")]
)
def test_the_config_refuses_what_cannot_be_built(sizes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **sizes)


def test_the_mlp_is_as_wide_as_published_unless_said():
    assert LightningDiT(CONFIG).blocks[0].mlp.out.in_features == int(2 / 3 * 4 * 32) == 85
    assert LightningDiT(dataclasses.replace(CONFIG, mlp_width=96)).blocks[0].mlp.out.in_features == 96


def test_tables_stay_float32_and_out_of_checkpoints(dit):
    assert not {"frequencies", "positions", "rope_cos"} & set(dit.state_dict())
    dit.to(torch.bfloat16)
    assert dit.embed.weight.dtype == torch.bfloat16
    assert torch.equal(dit.frequencies, fourier_frequencies())
    v = dit(*(x.bfloat16() if x.dim() == 3 else x for x in inputs()))
    assert v.dtype == torch.bfloat16
    assert v.isfinite().all()


def test_a_model_made_on_the_meta_device_gets_its_tables_when_it_is_given_memory(dit):
    with torch.device("meta"):
        empty = LightningDiT(CONFIG)
    empty.to_empty(device="cpu")
    empty.load_state_dict(dit.state_dict())
    assert torch.equal(empty(*inputs()), dit(*inputs()))


def test_under_autocast_it_stays_close_to_float32(dit):
    x, t, conditions = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        v = dit(x, t, conditions)
        assert dit.time(t, dit.frequencies).dtype == torch.float32
    exact = dit(x, t, conditions)
    assert (v.float() - exact).norm() < 0.03 * exact.norm()


def test_the_whole_forward_is_one_graph(dit):
    compiled = torch.compile(dit, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs()), dit(*inputs()))


def test_rotary_positions_depend_on_differences_only():
    angles = rope_angles(grid=4, head_dim=8)
    cos, sin = angles.cos(), angles.sin()
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 1, 1, 16, 8)
    scores = (rotate(q, cos, sin) @ rotate(k, cos, sin).mT)[0, 0]
    token = lambda row, column: row * 4 + column  # noqa: E731
    for a, b in (((0, 0), (1, 2)), ((2, 1), (3, 3))):
        assert scores[token(*a), token(*b)].item() == pytest.approx(scores[0, 6].item(), abs=1e-5)
    assert abs(scores[0, token(1, 2)] - scores[0, token(2, 1)]) > 1e-3


def test_the_two_forms_of_attention_agree():
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend_plainly(q, k, v), fused, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attend(q.requires_grad_(), k, v), fused, atol=1e-5, rtol=1e-5)
