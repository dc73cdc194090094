"""The straight path: x_t = (1 - t) x + t e, with t = 0 data and t = 1 noise.

Lipman et al. 2023 and Liu et al. 2023, with time turned round. What follows from a velocity on it stands
here too: the data, the noise and the score; curved paths are in `paths`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return x_t = (1 - t) x + t e.

    Args:
        x: [B ...] data, usually normalised latents [B N C].
        noise: e, standard normal, shape of x.
        t: [B] in [0, 1]; 0 gives x, 1 gives the noise.

    Raises:
        ValueError: shapes differ, or t is not one time per sample.
    """
    t = per_sample(t, x, noise)
    return torch.lerp(x, noise, t.to(x.dtype))


def velocity_target(x: Tensor, noise: Tensor) -> Tensor:
    """Return v = dx_t/dt = e - x, the velocity that points from data to noise."""
    return noise - x


def data_of(velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the data x = x_t - t v, all [B ...]; t is [B]."""
    return x_t - per_sample(t, x_t, velocity) * velocity


def noise_of(velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the noise e = x_t + (1 - t) v, all [B ...]; t is [B]."""
    return x_t + (1 - per_sample(t, x_t, velocity)) * velocity


def score_of(velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the score grad log p_t(x_t) = -(x_t + (1 - t) v) / t = -e / t; infinite at t = 0."""
    return -noise_of(velocity, x_t, t) / per_sample(t, x_t, velocity)


def velocity_of_data(x: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return v = (x_t - x) / t, exactly; infinite at t = 0. For networks: `prediction.from_data`."""
    return (x_t - x) / per_sample(t, x_t, x)


def velocity_of_noise(noise: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return v = (e - x_t) / (1 - t), exactly; infinite at t = 1. For networks: `prediction.from_noise`."""
    return (noise - x_t) / (1 - per_sample(t, x_t, noise))


def velocity_of_score(score: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Return v = -(x_t + t s) / (1 - t); infinite at t = 1."""
    return velocity_of_noise(-per_sample(t, x_t, score) * score, x_t, t)


def per_sample(t: Tensor, x: Tensor, noise: Tensor) -> Tensor:
    """Return t [B] as [B 1 ...], ready to multiply x [B ...]; check the three against each other."""
    if x.shape != noise.shape:
        raise ValueError(f"noise: expected the shape of x {tuple(x.shape)}, got {tuple(noise.shape)}")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t: expected one time per sample [{x.shape[0]}], got shape {tuple(t.shape)}")
    return t.reshape(-1, *([1] * (x.dim() - 1)))
