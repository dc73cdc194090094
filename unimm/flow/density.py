"""Which times are trained: densities of t in (0, 1), with t = 1 noise, and their pdfs.

Esser et al. 2024, section 3.1, in the paper's direction: a positive mean favours noise. Draws are made on
the generator's own device and moved, so a CPU generator gives the same times on every machine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RAE_HIGHEST = 0.999
"""Where RAE cuts its densities off, so that pure noise is never trained (published code)."""

MODE_SCALES = (-1.0, 2 / (math.pi - 2))
"""Scales for which the mode map is monotone (Esser et al. 2024, section 3.1)."""


def uniform(count: int, *, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw t uniform in [0, 1). Returns float32 [count]."""
    return _uniform(count, generator).float().to(device)


def uniform_pdf(t: Tensor) -> Tensor:
    """Return 1 inside [0, 1], 0 outside."""
    return ((t >= 0) & (t <= 1)).to(t.dtype)


def logit_normal(
    count: int,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw t = sigmoid(mean + std u), u standard normal. Returns float32 [count] in (0, 1).

    mean > 0 favours noise. The best of 61 formulations of Esser et al. 2024 is mean 0, std 1.
    """
    u = torch.randn(count, generator=generator, device=generator.device, dtype=torch.float32)
    return torch.sigmoid(mean + std * u).to(device)


def logit_normal_pdf(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Return exp(-(logit t - mean)^2 / (2 std^2)) / (std sqrt(2 pi) t (1 - t)); 0 at both ends."""
    inside = (t > 0) & (t < 1)
    safe = torch.where(inside, t, 0.5)
    z = (torch.logit(safe) - mean) / std
    pdf = torch.exp(-0.5 * z * z) / (std * math.sqrt(2 * math.pi) * safe * (1 - safe))
    return torch.where(inside, pdf, 0.0)


def mode(
    count: int, scale: float = 1.29, *, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw from the density with a mode in the middle. Returns float32 [count] in [0, 1].

    scale > 0 favours the middle, scale < 0 the ends, scale 0 is uniform; the ends keep a positive density.
    """
    return mode_from_uniform(_uniform(count, generator), scale).float().to(device)


def mode_from_uniform(u: Tensor, scale: float = 1.29) -> Tensor:
    """Return t = 1 - u - scale (cos^2(pi u / 2) - 1 + u), which falls from 1 to 0 as u rises.

    Raises:
        ValueError: the scale is outside [-1, 1.7519], where the map would fold back.
    """
    check_mode_scale(scale)
    return 1 - u - scale * (torch.cos(math.pi / 2 * u).square() - 1 + u)


def check_mode_scale(scale: float) -> None:
    """Refuse a scale outside [-1, 2 / (pi - 2)]."""
    low, high = MODE_SCALES
    if not low <= scale <= high:
        raise ValueError(f"scale: expected a mode scale in [{low:g}, {high:.4f}], got {scale}")


def mode_pdf(t: Tensor, scale: float = 1.29) -> Tensor:
    """Return 1 / |dt/du| = 1 / (1 + scale - scale pi/2 sin(pi u)) at the u that gives t.

    The map has no inverse in closed form; u is found by bisection, to the last bit.
    """
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(60):  # more halvings than float64 has bits
        middle = (low + high) / 2
        above = mode_from_uniform(middle, scale) > t
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    pdf = 1 / (1 + scale - scale * math.pi / 2 * torch.sin(math.pi * (low + high) / 2))
    return pdf * uniform_pdf(t)


def cosmap(count: int, *, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw times whose log-SNR is that of the cosine schedule. Returns float32 [count] in [0, 1]."""
    return cosmap_from_uniform(_uniform(count, generator)).float().to(device)


def cosmap_from_uniform(u: Tensor) -> Tensor:
    """Return t = 1 - 1 / (tan(pi u / 2) + 1)."""
    return 1 - 1 / (torch.tan(math.pi / 2 * u) + 1)


def cosmap_pdf(t: Tensor) -> Tensor:
    """Return 2 / (pi - 2 pi t + 2 pi t^2)."""
    return uniform_pdf(t) * 2 / (math.pi * (1 - 2 * t + 2 * t * t))


def truncated_uniform(
    count: int,
    highest: float = RAE_HIGHEST,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw t uniform in [0, highest), as RAE does. Returns float32 [count]."""
    return (highest * _uniform(count, generator)).float().to(device)


def truncated_uniform_pdf(t: Tensor, highest: float = RAE_HIGHEST) -> Tensor:
    """Return 1 / highest inside [0, highest], 0 outside."""
    return ((t >= 0) & (t <= highest)).to(t.dtype) / highest


def truncated_logit_normal(
    count: int,
    mean: float = 0.0,
    std: float = 1.0,
    highest: float = RAE_HIGHEST,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw a logit-normal t below `highest` by inverse CDF, as RAE does. Returns float32 [count]."""
    u = _uniform(count, generator)
    return truncated_logit_normal_from_uniform(u, mean, std, highest).float().to(device)


def truncated_logit_normal_from_uniform(
    u: Tensor, mean: float = 0.0, std: float = 1.0, highest: float = RAE_HIGHEST
) -> Tensor:
    """Return sigmoid(mean + std Phi^-1(u Phi((logit highest - mean) / std))), in the dtype of u."""
    z = torch.special.ndtri(u.double() * _mass_below(highest, mean, std))
    return torch.sigmoid(mean + std * z).to(u.dtype)


def truncated_logit_normal_pdf(
    t: Tensor, mean: float = 0.0, std: float = 1.0, highest: float = RAE_HIGHEST
) -> Tensor:
    """Return the logit-normal pdf over its mass below `highest`, 0 above."""
    return logit_normal_pdf(t, mean, std) / _mass_below(highest, mean, std) * (t <= highest)


def _mass_below(highest: float, mean: float, std: float) -> float:
    """Return the probability that a logit-normal time lies below `highest`."""
    z = (math.log(highest / (1 - highest)) - mean) / std
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    """Return float64 [count] in [0, 1), drawn as float32: the numbers a float32 draw of this seed has."""
    return torch.rand(count, generator=generator, device=generator.device).double()
