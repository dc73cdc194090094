"""Which times are trained: logit-normal density, dimension-dependent shift (Esser et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def logit_normal(
    count: int,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw t = sigmoid(mean + std u), u standard normal. Returns float32 [count] in (0, 1).

    The draw is made on the generator's own device and moved, so a CPU generator gives the same
    times on every machine.
    """
    u = torch.randn(count, generator=generator, device=generator.device, dtype=torch.float32)
    return torch.sigmoid(mean + std * u).to(device)


def shift(t, alpha: float):
    """Return t' = a t / (1 + (a - 1) t): the time at which more channels are as noisy as t.

    t may be a float, an array or a tensor in [0, 1]; 0 and 1 stay where they are. alpha > 1 moves
    times towards noise, alpha = 1 changes nothing.

    Raises:
        ValueError: alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha: expected a positive shift, got {alpha}")
    return alpha * t / (1 + (alpha - 1) * t)


def dimension_alpha(num_tokens: int, channels: int, base: int = 4096) -> float:
    """Return a = sqrt(N C / base): SigLIP-2 256 x 1152 gives 8.4853 (Zheng et al. 2025, section 4)."""
    return math.sqrt(num_tokens * channels / base)
