"""What a network's output means, and the velocity that follows from it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

SMALLEST_TIME = 0.05
"""Divisor of clean-data outputs near t = 0, where x_t is the data already (Li & He 2025, arXiv 2511.13720,
section 3), and of noise outputs near t = 1, where x_t is the noise already."""


def from_velocity(output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the output: it is the velocity."""
    return output


def from_data(output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return v = (x_t - x) / t for an output that is the clean data x, all [B ...]; t is [B]."""
    divisor = t.float().clamp_min(SMALLEST_TIME).reshape(-1, *[1] * (x_t.ndim - 1))
    return (x_t.float() - output.float()) / divisor


def from_noise(output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return v = (e - x_t) / (1 - t) for an output that is the noise e, all [B ...]; t is [B].

    Such a network knows nothing of the data at t = 1, where sampling starts.
    """
    divisor = (1 - t.float()).clamp_min(SMALLEST_TIME).reshape(-1, *[1] * (x_t.ndim - 1))
    return (output.float() - x_t.float()) / divisor


PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "velocity": from_velocity,
    "x": from_data,
    "eps": from_noise,
}
"""By name: velocity, as the published models; x, whose outputs lie where data lies, so that width can go to
meaning; eps, the noise, as the models before flow matching."""
