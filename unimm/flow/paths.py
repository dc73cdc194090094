"""Paths other than the straight one, x_t = alpha_t x + sigma_t e, for what was published on them.

t = 0 is data (alpha 1, sigma 0) and t = 1 noise. Files with t = 0 as noise (SiT, LightningDiT) are read at
1 - t, with the signs of the slopes turned round. Albergo et al. 2023; Ma et al. 2024 (SiT), table 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unimm.flow.path import per_sample

OfTime = Callable[[Tensor], Tensor]

VP_BETAS = (0.1, 20.0)
"""The rates at which the VP path begins and ends to add noise (Song et al. 2021)."""


@dataclass(frozen=True)
class Path:
    """x_t = alpha(t) x + sigma(t) e, with the slopes of both and the time of a given sigma / alpha."""

    alpha: OfTime
    sigma: OfTime
    alpha_slope: OfTime
    sigma_slope: OfTime
    time_of_ratio: OfTime  # of sigma / alpha, in [0, inf]

    def interpolate(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t, all [B ...]; t is [B]."""
        t = per_sample(t, x, noise)
        return self.alpha(t) * x + self.sigma(t) * noise

    def velocity_target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return dx_t/dt = alpha' x + sigma' e, all [B ...]; t is [B]."""
        t = per_sample(t, x, noise)
        return self.alpha_slope(t) * x + self.sigma_slope(t) * noise

    def noise_of(self, velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the noise e = (alpha v - alpha' x_t) / (alpha sigma' - alpha' sigma), all [B ...]."""
        t = per_sample(t, x_t, velocity)
        alpha, slope = self.alpha(t), self.alpha_slope(t)
        return (alpha * velocity - slope * x_t) / (alpha * self.sigma_slope(t) - slope * self.sigma(t))

    def score_of(self, velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the score -e / sigma; infinite at t = 0."""
        return -self.noise_of(velocity, x_t, t) / self.sigma(per_sample(t, x_t, velocity))

    def sbdm_diffusion(self, t: Tensor) -> Tensor:
        """Return sigma sigma' - sigma^2 alpha' / alpha: half of w of the forward SDE (Song et al. 2021).

        On the straight path it is t / (1 - t); infinite where alpha is 0.
        """
        return self.sigma(t) * (self.sigma_slope(t) - self.sigma(t) * self.alpha_slope(t) / self.alpha(t))

    def lognormal_time(self, normal: Tensor) -> Tensor:
        """Return the times at which log(sigma / alpha) are the given normal draws (REPA's "lognormal").

        On the straight path that is the logit-normal density of mean 0 and std 1.
        """
        return self.time_of_ratio(torch.exp(normal))


def _vp_log_alpha(t: Tensor) -> Tensor:
    first, last = VP_BETAS
    return -t * (t * (last - first) / 4 + first / 2)


def _vp_beta(t: Tensor) -> Tensor:
    first, last = VP_BETAS
    return first + t * (last - first)


def _vp_sigma(t: Tensor) -> Tensor:
    return torch.sqrt(-torch.expm1(2 * _vp_log_alpha(t)))


def _vp_time_of_ratio(ratio: Tensor) -> Tensor:
    """Solve t^2 (last - first) / 4 + t first / 2 = log(1 + ratio^2) / 2 for t."""
    first, last = VP_BETAS
    rise = torch.log1p(ratio.square())
    return 2 * rise / (first + torch.sqrt(first**2 + 2 * (last - first) * rise))


LINEAR = Path(
    alpha=lambda t: 1 - t,
    sigma=lambda t: t,
    alpha_slope=lambda t: -torch.ones_like(t),
    sigma_slope=torch.ones_like,
    time_of_ratio=lambda r: r / (1 + r),
)

COSINE = Path(
    alpha=lambda t: torch.cos(math.pi / 2 * t),
    sigma=lambda t: torch.sin(math.pi / 2 * t),
    alpha_slope=lambda t: -math.pi / 2 * torch.sin(math.pi / 2 * t),
    sigma_slope=lambda t: math.pi / 2 * torch.cos(math.pi / 2 * t),
    time_of_ratio=lambda r: 2 / math.pi * torch.atan(r),
)

VP = Path(
    alpha=lambda t: torch.exp(_vp_log_alpha(t)),
    sigma=_vp_sigma,
    alpha_slope=lambda t: -_vp_beta(t) / 2 * torch.exp(_vp_log_alpha(t)),
    sigma_slope=lambda t: _vp_beta(t) / 2 * torch.exp(2 * _vp_log_alpha(t)) / _vp_sigma(t),
    time_of_ratio=_vp_time_of_ratio,
)


def exchanged(path: Path) -> Path:
    """Return the path whose data and noise trade places and whose time is turned round."""
    return Path(
        alpha=lambda t: path.sigma(1 - t),
        sigma=lambda t: path.alpha(1 - t),
        alpha_slope=lambda t: -path.sigma_slope(1 - t),
        sigma_slope=lambda t: -path.alpha_slope(1 - t),
        time_of_ratio=lambda r: 1 - path.time_of_ratio(1 / r),
    )


PATHS: dict[str, Path] = {"linear": LINEAR, "cosine": COSINE, "vp": VP, "rae_vp": exchanged(VP)}
"""By name. SiT's "GVP" is cosine. RAE turned SiT's time round by exchanging alpha and sigma, so its "VP" is
another path; nothing was published on it."""
