"""Conditions prepared once say at every step what they say unprepared, and are not worked on again."""

from __future__ import annotations

import pytest
import torch

from tests.dit.small import LABELLED, VECTORS, WIDE, awake, inputs
from unimm.dit import DDT, LightningDiT, MMDiT, MMDiTConfig, TextConditions

JOINT = MMDiTConfig(
    channels=3, width=32, depth=2, heads=2, grid=8, sequence_width=12, pooled_width=5, patch_size=2
)
SIZE = (4, 6)


def joint(dtype=torch.float32):
    """Return an MM-DiT and x, t and text for it."""
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(2, *shape, generator=generator)  # noqa: E731
    text = TextConditions(draw(7, 12), draw(5))
    return awake(MMDiT(JOINT)).to(dtype), (draw(24, 3), torch.tensor([0.3, 0.8]), text)


@pytest.mark.parametrize("absent", [None, torch.tensor([True, False, True])])
@pytest.mark.parametrize(
    ("body_class", "config"), [(LightningDiT, VECTORS), (LightningDiT, LABELLED), (DDT, WIDE)]
)
def test_prepared_conditions_serve_every_step(body_class, config, absent):
    body = awake(body_class(config))
    x, t, conditions = inputs(config)
    prepared = body.prepared(conditions, absent, (4, 4))
    looked_up = []
    if body.labels is not None:
        body.labels.register_forward_hook(lambda *_: looked_up.append(1))
    drawn = [body(x, t * share, prepared) for share in (1, 0.5)]
    assert not looked_up
    for v, share in zip(drawn, (1, 0.5), strict=True):
        assert torch.equal(v, body(x, t * share, conditions, absent))


def test_prepared_conditions_are_of_one_batch_and_already_dropped():
    body = awake(LightningDiT(LABELLED))
    x, t, labels = inputs(LABELLED)
    prepared = body.prepared(labels)
    with pytest.raises(ValueError, match="dropped: expected None with prepared conditions"):
        body(x, t, prepared, torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="prepared conditions: expected .* with B=2, got 3"):
        body(x[:2], t[:2], prepared)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prepared_text_serves_every_step(dtype):
    dit, (x, t, text) = joint(dtype)
    prepared = dit.prepared(text, size=SIZE)
    worked = []
    for part in (dit.context, dit.pooled, dit.positions):
        part.register_forward_hook(lambda *_: worked.append(1))
    drawn = [dit(x, t * share, prepared, size=SIZE) for share in (1, 0.5)]
    assert not worked
    for v, share in zip(drawn, (1, 0.5), strict=True):
        assert torch.equal(v, dit(x, t * share, text, size=SIZE))


def test_a_prepared_text_is_of_one_size_and_batch():
    dit, (x, t, text) = joint()
    prepared = dit.prepared(text, size=SIZE)
    with pytest.raises(ValueError, match=r"size: expected \(4, 6\), for which .* got \(6, 4\)"):
        dit(x, t, prepared, size=SIZE[::-1])
    with pytest.raises(ValueError, match=r"conditions.sequence: expected .* with B=1, got 2"):
        dit(x[:1], t[:1], prepared, size=SIZE)
    for call in (lambda **told: dit.prepared(text, **told), lambda **told: dit(x, t, prepared, **told)):
        with pytest.raises(ValueError, match="dropped: expected None, an MM-DiT has no null"):
            call(dropped=torch.tensor([True, False]), size=SIZE)
