"""Paths and what follows from a velocity on them, against autograd and a Gaussian known in closed form."""

from __future__ import annotations

import pytest
import torch

from tests.flow.gaussian import score, velocity
from unimm.flow import (
    PATHS,
    data_of,
    interpolate,
    noise_of,
    path_loss,
    score_of,
    velocity_loss,
    velocity_of_data,
    velocity_of_noise,
    velocity_of_score,
    velocity_target,
)

T = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)


@pytest.fixture
def pair():
    return torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_slopes_are_slopes_and_times_of_ratios_are_found_again(path):
    t = T.clone().requires_grad_()
    for value, slope in ((path.alpha, path.alpha_slope), (path.sigma, path.sigma_slope)):
        [wanted] = torch.autograd.grad(value(t).sum(), t)
        torch.testing.assert_close(slope(T), wanted)
    torch.testing.assert_close(path.time_of_ratio(path.sigma(T) / path.alpha(T)), T)
    normal = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    found = path.lognormal_time(normal)
    torch.testing.assert_close(torch.log(path.sigma(found) / path.alpha(found)), normal)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_noise_and_score_are_read_back_from_the_velocity(path, pair):
    x, e = pair
    x_t, v = path.interpolate(x, e, T), path.velocity_target(x, e, T)
    torch.testing.assert_close(path.noise_of(v, x_t, T), e)
    torch.testing.assert_close(path.score_of(v, x_t, T), -e / path.sigma(T)[:, None, None])


def test_the_paths_run_from_data_to_noise():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for name in ("linear", "cosine"):
        torch.testing.assert_close(PATHS[name].alpha(ends), 1 - ends)
        torch.testing.assert_close(PATHS[name].sigma(ends), ends)
    assert PATHS["vp"].sigma(ends)[0] == 0
    assert PATHS["vp"].alpha(ends)[1] < 0.01


def test_on_the_straight_path_both_ways_agree(pair):
    x, e = pair
    path = PATHS["linear"]
    torch.testing.assert_close(path.interpolate(x, e, T), interpolate(x, e, T))
    torch.testing.assert_close(path.velocity_target(x, e, T), velocity_target(x, e))
    torch.testing.assert_close(path.sbdm_diffusion(T), T / (1 - T))
    off = lambda x_t, t: 0.5 * x_t  # noqa: E731
    torch.testing.assert_close(path_loss(off, x, e, T, path), velocity_loss(off, x, e, T))


def test_data_noise_and_score_of_a_velocity_and_back(pair):
    x, e = pair
    x_t, v = interpolate(x, e, T), velocity_target(x, e)
    torch.testing.assert_close(data_of(v, x_t, T), x)
    torch.testing.assert_close(noise_of(v, x_t, T), e)
    torch.testing.assert_close(velocity_of_data(x, x_t, T), v)
    torch.testing.assert_close(velocity_of_noise(e, x_t, T), v)
    torch.testing.assert_close(velocity_of_score(score_of(v, x_t, T), x_t, T), v)


def test_the_score_is_the_slope_of_the_log_density(pair):
    x_t = pair[0]
    torch.testing.assert_close(score_of(velocity(x_t, T), x_t, T), score(x_t, T))
    torch.testing.assert_close(velocity_of_score(score(x_t, T), x_t, T), velocity(x_t, T))
    on_path = PATHS["linear"].score_of(velocity(x_t, T), x_t, T)
    torch.testing.assert_close(on_path, score(x_t, T))


def test_the_loss_on_a_path_is_zero_for_its_own_velocity(pair):
    x, e = pair.float()
    for path in PATHS.values():
        target = path.velocity_target(x, e, T.float())
        assert torch.equal(path_loss(lambda x_t, t, v=target: v, x, e, T.float(), path), torch.zeros(4))
    with pytest.raises(ValueError, match=r"t: expected times in \[0, 1\]"):
        path_loss(lambda x_t, t: x_t, x, e, -T.float(), PATHS["cosine"])
