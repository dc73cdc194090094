"""Advantages are standard scores, and their loss is the flow loss weighted."""

from __future__ import annotations

import pytest
import torch

from unimm.flow.advantage import advantage_loss, advantages
from unimm.flow.loss import velocity_loss


def test_advantages_are_standard_scores_by_row():
    found = advantages(torch.tensor([[0.0, 1.0, 1.0, 2.0], [10.0, 10.0, 10.0, 14.0]]))
    assert torch.allclose(found[0], torch.tensor([-1.0, 0.0, 0.0, 1.0]) * 2**0.5)
    assert torch.allclose(found[1], torch.tensor([-1.0, -1.0, -1.0, 3.0]) / 3**0.5)


def test_a_group_of_equal_rewards_tells_nothing():
    assert torch.equal(advantages(torch.full((2, 3), 0.1)), torch.zeros(2, 3))


def test_advantages_are_cut():
    row = torch.zeros(1, 101)
    row[0, 0] = 1.0
    assert advantages(row, limit=2.0)[0, 0] == 2.0


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(3, 4, 2, generator=generator) for _ in range(2))
    return x, noise, torch.tensor([0.2, 0.5, 0.9])


def test_the_loss_is_the_flow_loss_weighted_and_the_distance_to_the_reference(drawn):
    x, noise, t = drawn
    scale = torch.tensor(0.5, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 0.0])
    found = advantage_loss(lambda x_t, t: scale * x_t, lambda x_t, t: 0.25 * x_t, x, noise, t, weights, 0.1)
    error = velocity_loss(lambda x_t, t: 0.5 * x_t, x, noise, t)
    x_t = torch.lerp(x, noise, t[:, None, None])
    apart = (0.25 * x_t).square().flatten(1).mean(1)
    assert torch.allclose(found.error, error)
    assert torch.allclose(found.divergence, apart)
    assert torch.allclose(found.loss, weights * error + 0.1 * apart)
    found.loss.sum().backward()
    slope = (2 * (0.5 * x_t - (noise - x)) * x_t).flatten(1).mean(1)
    pull = (2 * 0.25 * x_t * x_t).flatten(1).mean(1)
    assert scale.grad.item() == pytest.approx((weights * slope + 0.1 * pull).sum().item(), rel=1e-5)


def test_what_does_not_fit_is_refused(drawn):
    x, noise, t = drawn

    def zero(x_t, t):
        return 0 * x_t

    with pytest.raises(ValueError, match="kl: expected 0 or more, got -1"):
        advantage_loss(zero, zero, x, noise, t, torch.zeros(3), -1.0)
    with pytest.raises(ValueError, match="advantage"):
        advantage_loss(zero, zero, x, noise, t, torch.zeros(2), 0.0)
