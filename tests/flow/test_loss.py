"""The direction term, and what the loss refuses."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.flow import directed_loss, direction_loss, velocity_loss
from unimm.flow.loss import spoil_outside

X, E = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0.1, 0.5, 0.9])


def test_the_direction_term_is_one_minus_the_cosine_over_channels():
    x, e = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])

    def turned(angle):
        return lambda x_t, t: torch.tensor([[[math.cos(angle), math.sin(angle)], [0.0, 1.0]]])

    for angle in (0.0, math.pi / 3, math.pi):
        got = directed_loss(turned(angle), x, e, torch.tensor([0.5]))
        assert got.direction.item() == pytest.approx((1 - math.cos(angle)) / 2, abs=1e-6)
        assert got.error.item() == pytest.approx((2 - 2 * math.cos(angle)) / 4, abs=1e-6)


def test_the_direction_does_not_see_length_and_its_error_is_the_plain_loss():
    torch.testing.assert_close(direction_loss(3 * (E - X), E - X), torch.zeros(3), atol=1e-6, rtol=0)
    velocity = lambda x_t, t: 0.3 * x_t  # noqa: E731
    assert torch.equal(directed_loss(velocity, X, E, T).error, velocity_loss(velocity, X, E, T))


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 500.0, math.nan])
@pytest.mark.parametrize("loss", [velocity_loss, directed_loss])
def test_a_time_outside_is_refused(loss, wrong):
    with pytest.raises(ValueError, match=r"t: expected times in \[0, 1\] \(0 data, 1 noise\), got"):
        loss(lambda x_t, t: x_t, X, E, torch.tensor([0.5, wrong, 0.5]))


def test_on_an_accelerator_its_sample_becomes_nan_and_no_other():
    spoiled = spoil_outside(X, torch.tensor([0.0, 1.0001, 1.0]))
    assert torch.equal(spoiled[[0, 2]], X[[0, 2]])
    assert spoiled[1].isnan().all()
