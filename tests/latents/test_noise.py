"""Noise augmentation: the two laws of sigma, and who draws what when."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.latents.noise import SIGMAS, add_noise, with_noise

TAU = 0.8
# Cumulative distributions on a few points: erf(s / (tau sqrt 2)) and s / tau.
LAWS = {"half_normal": lambda s: math.erf(s / (TAU * math.sqrt(2))), "uniform": lambda s: min(s / TAU, 1)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", SIGMAS)
def test_sigma_follows_its_law(kind):
    sigma = SIGMAS[kind](40_000, TAU, generator())
    assert sigma.shape == (40_000,)
    for s in (0.1, 0.3, 0.5, 0.79, 1.5):
        assert (sigma <= s).double().mean().item() == pytest.approx(LAWS[kind](s), abs=0.01)


@pytest.mark.parametrize("kind", SIGMAS)
def test_each_picture_has_one_sigma_drawn_before_the_noise(kind):
    z = torch.randn(3, 5, 4, generator=generator(1))
    again = generator()
    sigma = SIGMAS[kind](3, TAU, again)
    noise = torch.randn(3, 5, 4, generator=again)
    noised = with_noise(z, TAU, generator(), kind)
    assert torch.equal(noised, z + sigma[:, None, None] * noise)
    assert torch.equal(add_noise(z, sigma, noise), noised)


def test_no_strength_adds_nothing_and_draws_the_same():
    z, one, other = torch.zeros(2, 3, 4), generator(), generator()
    assert torch.equal(with_noise(z, 0.0, one), z)
    with_noise(z, TAU, other)
    assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.parametrize(
    ("tau", "kind", "said"),
    [
        (0.8, "half-normal", "got 'half-normal'; did you mean 'half_normal'"),
        (-0.1, "uniform", "tau: expected a number of at least 0, got -0.1"),
        (float("nan"), "uniform", "tau: .* got nan"),
    ],
)
def test_what_is_no_noise_is_refused(tau, kind, said):
    with pytest.raises(ValueError, match=said):
        with_noise(torch.zeros(1, 2, 3), tau, generator(), kind)
