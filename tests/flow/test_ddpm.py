"""A noise network of DDPM's chain as a velocity: on Gaussian data both are known exactly."""

from __future__ import annotations

import pytest
import torch

from tests.flow.copies import copies
from unimm.flow import clean_grid, heun
from unimm.flow.ddpm import chain_ratios, chain_times, ddpm_velocity, step_of

MEAN, STD = 0.7, 0.5


def alpha_squared(u):
    """Return the chain's signal power at u = step / 999, interpolated in the log-ratio."""
    place = 999 * u.double()
    low = place.floor().clamp(0, 998).long()
    logs = chain_ratios().log()
    ratio = torch.lerp(logs[low], logs[low + 1], place - low).exp()
    return 1 / (1 + ratio**2)


def exact_noise(x, u):
    """Return E[e | x] for data N(MEAN, STD^2) on the chain."""
    power = alpha_squared(u)[:, None]
    return (1 - power).sqrt() * (x - power.sqrt() * MEAN) / (power * STD**2 + 1 - power)


def exact_velocity(x, t):
    """Return E[e - data | x] for the same data on the straight path."""
    t = t[:, None]
    variance = (1 - t) ** 2 * STD**2 + t**2
    return -MEAN + (t - (1 - t) * STD**2) * (x - (1 - t) * MEAN) / variance


def test_the_chain_is_ddpms():
    # sqrt(alpha_bar) of the last step, as published code prints it.
    assert (1 / (1 + chain_ratios()[-1] ** 2)).sqrt().item() == pytest.approx(0.00635, abs=5e-6)
    assert chain_ratios()[0].item() == pytest.approx((1e-4 / (1 - 1e-4)) ** 0.5, rel=1e-12)


def test_every_time_finds_its_step():
    steps = torch.arange(1000, dtype=torch.float64)
    torch.testing.assert_close(step_of(chain_times()), steps, atol=1e-6, rtol=0)
    assert step_of(torch.tensor([0.0, 1.0])).tolist() == [0, 999]
    between = step_of(torch.linspace(0, 1, 501))
    assert (between.diff() >= 0).all()


def test_the_velocity_is_that_of_the_straight_path():
    t = chain_times()[::37]
    x = torch.randn(len(t), 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ddpm_velocity(exact_noise)(x, t), exact_velocity(x, t), atol=1e-7, rtol=1e-7)


def test_samples_are_the_data():
    noise = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = heun(ddpm_velocity(exact_noise), noise, clean_grid(100))
    torch.testing.assert_close(drawn, MEAN + STD * noise, atol=0.02, rtol=0)


def test_the_chain_is_copied_to_a_device_once():
    t = torch.rand(4, device="meta")
    step_of(t)
    assert copies(lambda: step_of(t)) == 0
    assert step_of(torch.rand(4, dtype=torch.float64)).dtype == torch.float64
