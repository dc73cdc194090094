"""Samplers that add noise keep the marginals of a Gaussian, at every shift."""

from __future__ import annotations

import math

import pytest
import torch

from tests.flow.gaussian import MEAN, spread, velocity
from unimm.flow import DIFFUSIONS, clean_grid, draws, euler, euler_maruyama, heun_maruyama, renoising


def start(seed, count):
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(seed))


def noise(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return lambda i, x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def marginals(solver, grid, diffusion):
    """Return the exact mean and spread of the samples after each step.

    The velocity of a Gaussian is a line, so a run is a sum of its answers to the start and to each draw: one
    row is run without any, one from 1, and one for each step with a draw of 1 there and 0 elsewhere.
    """
    steps, found = len(grid) - 1, []
    x = torch.zeros(steps + 2, 1, dtype=torch.float64)
    x[1] = 1
    first = grid[0].item()

    def look(i, x):
        plain, answers = x[0, 0], x[1:, 0] - x[0, 0]
        mean = plain + answers[0] * (1 - first) * MEAN
        var = answers[0] ** 2 * spread(first) + answers[1:].square().sum()
        found.append((mean.item(), var.sqrt().item()))

    impulse = lambda i, x: torch.zeros_like(x).index_fill_(0, torch.tensor(i + 2), 1)  # noqa: E731
    solver(velocity, x, grid, look, draw=impulse, diffusion=diffusion)
    return found


def worst(solver, kind, steps, alpha):
    """Return the largest error of mean or spread over the run, and that at its end."""
    grid = clean_grid(steps, alpha)
    grid = grid[grid < 0.98] if kind == "sbdm" else grid  # its w is infinite at 1
    found = marginals(solver, grid, DIFFUSIONS[kind])
    assert len(found) == len(grid) - 1
    off = [
        max(abs(mean - (1 - t) * MEAN), abs(std - math.sqrt(spread(t))))
        for (mean, std), t in zip(found, grid[1:].tolist(), strict=True)
    ]
    return max(off), off[-1]


@pytest.mark.parametrize("alpha", [1.0, 3.0, 8.4853])
@pytest.mark.parametrize("kind", DIFFUSIONS)
@pytest.mark.parametrize("solver", [euler_maruyama, heun_maruyama])
def test_mean_and_spread_are_right_at_every_time_and_shift(solver, kind, alpha):
    coarse, fine = (worst(solver, kind, steps, alpha) for steps in (100, 400))
    assert max(fine) < 0.06
    assert fine[0] < max(0.4 * coarse[0], 3e-3)  # towards nothing, with first order
    assert fine[1] < max(0.4 * coarse[1], 3e-3)


def test_without_noise_the_sde_is_the_ode():
    x, grid = start(0, 5).double(), clean_grid(7, 3.0)
    drawn = euler_maruyama(velocity, x, grid, draw=noise(), diffusion=lambda t: 0.0)
    torch.testing.assert_close(drawn, euler(velocity, x, grid))


def test_the_step_to_data_draws_no_noise():
    asked = []

    def draw(i, x):
        asked.append(i)
        return torch.zeros_like(x)

    for solver in (euler_maruyama, heun_maruyama, renoising):
        asked.clear()
        solver(velocity, torch.ones(2, 1), clean_grid(4), draw=draw)
        assert asked == [0, 1, 2]


def test_renoising_lands_on_what_the_velocity_points_at():
    x0 = torch.full((4, 2), 3.0)  # data that is one point: its velocity knows it from anywhere
    drawn = renoising(lambda x, t: (x - x0) / t[:, None], torch.randn(4, 2), clean_grid(3), draw=noise())
    torch.testing.assert_close(drawn, x0)


def test_a_sample_depends_on_its_own_generator_alone():
    def run(seeds):
        x = torch.stack([start(seed, 3)[:, 0] for seed in seeds])
        own = draws([torch.Generator().manual_seed(100 + seed) for seed in seeds])
        return euler_maruyama(velocity, x, clean_grid(5), draw=own)

    torch.testing.assert_close(run([1, 2, 3])[1:2], run([2]))
    with pytest.raises(ValueError, match="generators: expected one per sample, 2, got 1"):
        euler_maruyama(velocity, torch.ones(2, 1), clean_grid(3), draw=draws([torch.Generator()]))


@pytest.mark.parametrize(
    ("grid", "options", "said"),
    [
        (clean_grid(3).flip(0), {}, "grid: expected falling times"),
        (
            clean_grid(3),
            {"diffusion": DIFFUSIONS["sbdm"]},
            "finite w >= 0 .*, got inf at t = 1",
        ),
        (clean_grid(3), {"diffusion": lambda t: -1.0}, "got -1.0"),
        (clean_grid(3) * 2, {}, r"expected times in \[0, 1\]"),
    ],
)
def test_bad_grids_and_diffusions_are_refused(grid, options, said):
    with pytest.raises(ValueError, match=said):
        euler_maruyama(velocity, torch.ones(2, 1), grid, draw=noise(), **options)


@pytest.mark.parametrize("solver", [euler_maruyama, heun_maruyama, renoising])
def test_bad_states_and_velocities_are_refused(solver):
    with pytest.raises(ValueError, match="x: expected finite"):
        solver(velocity, torch.full((2, 1), math.nan), clean_grid(3), draw=noise())
    with pytest.raises(ValueError, match="velocity: expected the shape of x"):
        solver(lambda x, t: x[:1], torch.ones(2, 1), clean_grid(3), draw=noise())
    with pytest.raises(ValueError, match="drawn latents: expected finite"):
        solver(lambda x, t: x * math.inf, torch.ones(2, 1), clean_grid(3), draw=noise())
