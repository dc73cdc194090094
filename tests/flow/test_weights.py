"""Every weight of the velocity error makes the loss its formulation is named after.

A loss of noise errors f(lambda) is written two ways: over the straight path with the weight, and over the
formulation's own times or noise levels.
"""

from __future__ import annotations

import math

import pytest
import torch

from tests.flow.copies import copies
from unimm.flow import WEIGHTS, Density, Weight, velocity_loss
from unimm.flow.weights import log_snr

STEPS = 200_000


def noise_error(lam):
    """Any smooth function of the log-SNR that dies out at both ends."""
    return torch.exp(-((lam - 1) ** 2) / 8)


def over_the_straight_path(weight):
    lam = torch.linspace(-30, 30, STEPS, dtype=torch.float64)
    t = torch.sigmoid(-lam / 2)
    velocity_error = noise_error(lam) / (1 - t) ** 2
    dt = t * (1 - t) / 2 * (60 / (STEPS - 1))
    return (weight(t) * velocity_error * dt).sum().item()


def mean_over(lam, factor=1.0):
    return (factor * noise_error(lam)).mean().item()


def uniform_times():
    return (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS


def linear_schedule(betas):
    a2 = torch.cumprod(1 - betas, 0)
    return torch.log(a2 / (1 - a2))


DDPM = linear_schedule(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
LDM = linear_schedule(torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2)


@pytest.mark.parametrize(("kind", "lam"), [("linear", DDPM), ("ldm_linear", LDM)])
def test_the_linear_schedules_are_means_over_their_steps(kind, lam):
    eps, v = over_the_straight_path(Weight(f"{kind}_eps")), over_the_straight_path(Weight(f"{kind}_v"))
    assert eps == pytest.approx(mean_over(lam), rel=2e-3)
    assert v == pytest.approx(mean_over(lam, 1 + torch.exp(-lam)), rel=2e-3)  # |v err| = |eps err| / a


def test_the_cosine_schedule_is_a_mean_over_its_times():
    lam = -2 * torch.log(torch.tan(math.pi / 2 * uniform_times()))
    assert over_the_straight_path(Weight("cosine_eps")) == pytest.approx(math.pi * mean_over(lam), rel=1e-4)
    with_v = math.pi / 2 * mean_over(lam, 1 + torch.exp(-lam))
    assert over_the_straight_path(Weight("cosine_v")) == pytest.approx(with_v, rel=1e-4)


@pytest.mark.parametrize(("mean", "std"), [(-1.2, 1.2), (0.6, 0.8)])
def test_edm_is_a_mean_over_normal_log_sigmas(mean, std):
    log_sigma = mean + std * torch.special.ndtri(uniform_times())
    lam = -2 * log_sigma
    edm = over_the_straight_path(Weight("edm", mean=mean, std=std))
    assert edm == pytest.approx(mean_over(lam, 0.5 * (torch.exp(-lam) + 0.25)), rel=1e-3)


@pytest.mark.parametrize(
    "settings", [{"kind": "logit_normal", "mean": 0.5}, {"kind": "mode", "scale": 1.0}, {"kind": "cosmap"}]
)
def test_weighting_by_a_density_is_drawing_from_it(settings):
    t = uniform_times()[::1000]
    assert torch.equal(Weight(**settings)(t), Density(**settings).pdf(t))


def test_rf_weighs_nothing_and_sigma_sqrt_is_the_square_of_the_inverse():
    t = torch.tensor([0.25, 0.5])
    assert Weight()(t).tolist() == [1, 1]
    assert Weight("diffusers_sigma_sqrt")(t).tolist() == [16, 4]
    assert log_snr(torch.tensor([0.5])).item() == 0


@pytest.mark.parametrize("kind", WEIGHTS)
def test_every_weight_keeps_shape_and_dtype_and_is_finite_inside(kind):
    t = torch.linspace(0.01, 0.99, 12).reshape(3, 4)
    weight = Weight(kind)(t)
    assert weight.shape == t.shape
    assert weight.dtype == t.dtype
    assert weight.isfinite().all()
    assert (weight >= 0).all()


def test_the_loss_multiplies_each_sample():
    x, e, t = torch.zeros(2, 3, 4), torch.ones(2, 3, 4), torch.tensor([0.5, 0.25])
    loss = velocity_loss(lambda x_t, t: 0 * x_t, x, e, t, Weight("diffusers_sigma_sqrt"))
    torch.testing.assert_close(loss, torch.tensor([4.0, 16.0]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "cosin_v"}, "did you mean 'cosine_v'"),
        ({"kind": "rf", "mean": 1.0}, "mean: the 'rf' weight does not use it"),
        ({"kind": "edm", "std": -1.0}, "expected a positive std"),
    ],
)
def test_settings_that_make_no_weight_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Weight(**settings)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_time_that_rounded_to_an_end_has_a_finite_weight(kind):
    ends = torch.tensor([0.0, 1.0])
    assert Weight(kind)(ends).isfinite().all()
    torch.testing.assert_close(Weight(kind)(ends), Weight(kind)(torch.tensor([2.0**-24, 1 - 2.0**-24])))


@pytest.mark.parametrize("kind", ["linear_eps", "linear_v", "ldm_linear_eps", "ldm_linear_v"])
def test_a_schedule_is_copied_to_a_device_once(kind):
    t = torch.rand(4, device="meta")
    Weight(kind)(t)
    assert copies(lambda: Weight(kind)(t)) == 0
