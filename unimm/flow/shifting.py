"""The shift of time towards noise, and how large it is: by dimension, by resolution, by number of tokens."""

from __future__ import annotations

import math


def shift(t, alpha: float):
    """Return t' = a t / (1 + (a - 1) t): the time at which more channels are as noisy as t.

    Esser et al. 2024, section 5.3.2. The log-SNR 2 log((1 - t) / t) moves by -2 log a.
    t may be a float, an array or a tensor in [0, 1]; 0 and 1 stay where they are. alpha > 1 moves
    times towards noise, alpha = 1 changes nothing; 1 / alpha is the way back.

    Raises:
        ValueError: alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha: expected a positive shift, got {alpha}")
    return alpha * t / (1 + (alpha - 1) * t)


def dimension_alpha(num_tokens: int, channels: int, base: int = 4096) -> float:
    """Return a = sqrt(N C / base): SigLIP-2 256 x 1152 gives 8.4853 (Zheng et al. 2025, section 4)."""
    return resolution_alpha(num_tokens * channels, base)


def resolution_alpha(num_values: int, base: int) -> float:
    """Return a = sqrt(m / n), for m values trained or drawn where n were before (Esser et al. 2024, eq. 23).

    m and n count alike: pixels, tokens, or tokens times channels.

    Raises:
        ValueError: a count below 1.
    """
    if num_values < 1 or base < 1:
        raise ValueError(f"shift: expected positive counts, got {num_values} values over a base of {base}")
    return math.sqrt(num_values / base)


def dynamic_mu(
    num_tokens: int, low: tuple[int, float] = (256, 0.5), high: tuple[int, float] = (4096, 1.15)
) -> float:
    """Return mu, linear in the number of image tokens through two points (diffusers, `calculate_shift`)."""
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return low[1] + slope * (num_tokens - low[0])


def dynamic_alpha(num_tokens: int) -> float:
    """Return a = exp(mu): 1.65 at 256 tokens, 3.16 at 4096, as Flux is sampled.

    diffusers' "linear" time shift takes a = mu itself: `dynamic_mu`.
    """
    return math.exp(dynamic_mu(num_tokens))
