"""Flow-GRPO's steps: Gaussian, of known density, with the right marginals, and differentiable."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from tests.flow.gaussian import MEAN, STD, velocity
from unimm.flow import clean_grid, grpo_step, grpo_trajectory


def noise(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return lambda i, x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_the_samples_have_the_spread_of_the_data(alpha):
    x = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    drawn = grpo_trajectory(velocity, x, clean_grid(300, alpha), draw=noise(), level=0.7)
    assert drawn.states.shape == (301, 20000, 1)
    assert drawn.log_probs.shape == (300, 20000)
    assert drawn.states[-1].mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.states[-1].std().item() == pytest.approx(STD, abs=0.02)


def test_the_log_probability_is_that_of_a_normal():
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = grpo_step(-x, x, 0.6, 0.5, highest=0.9)
    after = step.mean + step.std * noise()(0, x)
    wanted = torch.distributions.Normal(step.mean, step.std).log_prob(after).flatten(1).mean(1)
    torch.testing.assert_close(step.log_prob(after), wanted)


def test_a_recorded_step_can_be_asked_again_with_gradients():
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    grid = clean_grid(4, 2.0)
    drawn = grpo_trajectory(velocity, x, grid, draw=noise())
    times = grid.tolist()
    scale = torch.ones((), requires_grad=True)
    for i, (t, end) in enumerate(pairwise(times)):
        v = scale * velocity(drawn.states[i], torch.full((3,), t))
        again = grpo_step(v, drawn.states[i], t, end, highest=times[1])
        torch.testing.assert_close(again.log_prob(drawn.states[i + 1]), drawn.log_probs[i])
        [slope] = torch.autograd.grad(again.log_prob(drawn.states[i + 1]).sum(), scale)
        assert slope.isfinite()
        assert slope != 0


def test_pure_noise_takes_the_second_time_for_its_own():
    assert grpo_step(torch.zeros(1, 1), torch.zeros(1, 1), 1.0, 0.9, 0.9).std == pytest.approx(
        0.7 * math.sqrt(10) * math.sqrt(0.1)
    )


def test_one_step_is_enough_below_pure_noise():
    drawn = grpo_trajectory(velocity, torch.ones(2, 1), torch.tensor([0.5, 0.0]), draw=noise())
    assert drawn.log_probs.shape == (1, 2)


def test_bad_input_is_refused():
    x = torch.ones(2, 1)
    with pytest.raises(ValueError, match="level: expected a positive noise level"):
        grpo_trajectory(velocity, x, clean_grid(3), draw=noise(), level=0.0)
    with pytest.raises(ValueError, match="grid: expected falling times"):
        grpo_trajectory(velocity, x, clean_grid(3).flip(0), draw=noise())
    with pytest.raises(ValueError, match="step: expected 0 <= end < t <= 1"):
        grpo_step(x, x, 0.5, 0.6, 0.9)
    with pytest.raises(ValueError, match="highest: expected a time between 0 and 1"):
        grpo_step(x, x, 1.0, 0.6, 1.0)
    with pytest.raises(ValueError, match="x: expected finite"):
        grpo_trajectory(velocity, x * math.nan, clean_grid(3), draw=noise())
    with pytest.raises(ValueError, match="velocity: expected the shape of x"):
        grpo_step(x[:1], x, 0.5, 0.4, 0.9)
    with pytest.raises(ValueError, match="at least two steps"):
        grpo_trajectory(velocity, x, clean_grid(1), draw=noise())
