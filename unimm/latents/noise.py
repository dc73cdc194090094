"""Noise augmentation: a decoder that has seen noised latents also shows what a DiT drew a little off.

sigma is drawn once per picture, then z + sigma n with n ~ N(0, 1) (Zheng et al. 2025, arXiv 2510.11690,
section 4.3). The paper and its code draw sigma differently, and both use tau = 0.8: a mean sigma of 0.64
against 0.40. Their published code noises raw latents, whose tokens have variance 1, before the statistics;
DiTs draw normalised latents, so noise on those is the other choice. The caller chooses by what it passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unimm.tables import expect_known


def half_normal_sigma(count: int, tau: float, generator: torch.Generator) -> Tensor:
    """Return sigma [count] = |N(0, tau^2)|: the paper. The mean is tau sqrt(2 / pi)."""
    return torch.randn(count, generator=generator, device=generator.device).abs() * tau


def uniform_sigma(count: int, tau: float, generator: torch.Generator) -> Tensor:
    """Return sigma [count] = tau U(0, 1): the published code and its decoders. The mean is tau / 2."""
    return torch.rand(count, generator=generator, device=generator.device) * tau


SIGMAS = {"half_normal": half_normal_sigma, "uniform": uniform_sigma}
"""Functions (count, tau, generator) -> sigma [count] by kind."""


def with_noise(latents: Tensor, tau: float, generator: torch.Generator, kind: str = "half_normal") -> Tensor:
    """Return latents [B N C] plus noise of a standard deviation drawn for each picture.

    Args:
        latents: raw or normalised; see the head of this file.
        tau: strength, in units of the latents; at 0 nothing is added, and the same draws are made.
        generator: draws all sigmas first, then the noise, on its own device.
        kind: how sigma is drawn, a name in SIGMAS.

    Raises:
        ValueError: an unknown kind, or a tau that is negative or not finite.
    """
    expect_known("noise kind", kind, SIGMAS)
    if not (math.isfinite(tau) and tau >= 0):
        raise ValueError(f"noise tau: expected a number of at least 0, got {tau}")
    sigma = SIGMAS[kind](len(latents), tau, generator)
    noise = torch.randn(latents.shape, generator=generator, device=generator.device)
    return add_noise(latents, sigma.to(latents.device), noise.to(latents.device))


def add_noise(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Return latents + sigma noise, for latents and noise [B N C] and sigma [B]."""
    return latents + sigma[:, None, None] * noise
