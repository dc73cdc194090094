"""Guidance: velocities made of velocities.

Classifier-free: Ho & Salimans 2022; its interval: Kynkaanniemi et al. 2024; AutoGuidance: Karras et al. 2024.
A negative prompt is classifier-free guidance whose other velocity has the negative prompt for its conditions.

Each velocity is evaluated once per call, on its own batch, and only where it is needed: outside its
interval, or at scale 1, the guide is not asked. Solvers, which know the time on the host, ask through
`velocity_at`, so no device is waited for; a call with times on a device costs one look at them, where the
interval leaves out a part of [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
Interval = tuple[float, float]

ALWAYS = (0.0, 1.0)

NEVER = (1.0, 0.0)
"""The empty interval. The published Scale-RAE code tests its interval the wrong way round, so there
guidance never acts at any scale; its numbers are those of the conditional velocity alone."""


def guided(
    conditional: Velocity, unconditional: Velocity, scale: float, interval: Interval = ALWAYS
) -> Velocity:
    """Return the velocity v_u + scale (v_c - v_u) for times in the interval, v_c elsewhere.

    Args:
        conditional: `f(x_t, t) -> v` with the conditions.
        unconditional: the same with the null condition, or with a negative prompt.
        scale: 1 is no guidance, and then `unconditional` is never called; 0 is unconditional.
        interval: (low, high) in t; guidance acts where low <= t <= high, for each sample by its own
            time. NEVER switches it off. LightningDiT's start of 0.11, in time that runs from noise to data,
            is (0, 0.89) here.

    Raises:
        ValueError: an interval the wrong way round; at a call, velocities of two shapes.
    """
    return blended(conditional, unconditional, interval, scale, lambda c, u: u + scale * (c - u))


def autoguided(main: Velocity, guide: Velocity, scale: float, interval: Interval = ALWAYS) -> Velocity:
    """Return v_g + scale (v - v_g), away from a weaker network under the same conditions.

    RAE: an early, small DiT as the guide, scale 1.42 at 256 pixels, 1.5 at 512. The published code also
    evaluates both under the null label and throws that away. Arguments and errors as in `guided`.
    """
    return guided(main, guide, scale, interval)


def channel_guided(
    conditional: Velocity,
    unconditional: Velocity,
    scale: float,
    interval: Interval = ALWAYS,
    num_channels: int = 3,
) -> Velocity:
    """Return `guided` for the first channels of [B ... C] alone; the others stay conditional.

    LightningDiT's published numbers are drawn so, with 3 of 32 channels and scales of 6.7 and 10.

    Raises:
        ValueError: as `guided`; fewer than 1 channel, or at a call more than there are.
    """
    if num_channels < 1:
        raise ValueError(f"num_channels: expected at least 1, got {num_channels}")

    def blend(c: Tensor, u: Tensor) -> Tensor:
        if num_channels > c.shape[-1]:
            raise ValueError(f"num_channels: expected at most the latents' {c.shape[-1]}, got {num_channels}")
        first_c, first_u = c[..., :num_channels], u[..., :num_channels]
        return torch.cat([first_u + scale * (first_c - first_u), c[..., num_channels:]], dim=-1)

    return blended(conditional, unconditional, interval, scale, blend)


def blended(
    toward: Velocity,
    away: Velocity,
    interval: Interval,
    scale: float,
    blend: Callable[[Tensor, Tensor], Tensor],
) -> Velocity:
    """Return blend(toward, away) for the times in the interval, `toward` elsewhere and at scale 1."""
    check_interval(interval)
    if scale == 1.0 or tuple(interval) == NEVER:
        return toward
    return Blended(toward, away, blend, *interval)


@dataclass(frozen=True)
class Blended:
    """The velocity blend(toward, away) for the samples whose time is in [low, high], `toward` for others."""

    toward: Velocity
    away: Velocity
    blend: Callable[[Tensor, Tensor], Tensor]
    low: float
    high: float

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        if self.low <= 0 and self.high >= 1:
            return self.everywhere(x_t, t)
        v, inside = self.toward(x_t, t), self.inside(t)
        num_inside = int(inside.sum())
        if num_inside == 0:
            return v
        mixed = self.blend(v, _guide(self.away, x_t, t, v))
        if num_inside == inside.numel():
            return mixed
        return torch.where(inside.reshape(-1, *[1] * (v.dim() - 1)), mixed, v)

    def everywhere(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return blend(toward, away), whatever the times."""
        v = self.toward(x_t, t)
        return self.blend(v, _guide(self.away, x_t, t, v))

    def inside(self, t: Tensor) -> Tensor:
        """Return which times are in the interval, compared in the dtype of t."""
        return (t >= self.low) & (t <= self.high)


def velocity_at(velocity: Velocity, t: float, dtype: torch.dtype) -> Velocity:
    """Return what a velocity comes to where all samples stand at one time, decided on the host.

    Args:
        velocity: any; only one that is guided in an interval comes to something simpler.
        t: the time of every sample.
        dtype: of the times that the velocity will be asked at: to it t is rounded.
    """
    if not isinstance(velocity, Blended):
        return velocity
    toward = velocity_at(velocity.toward, t, dtype)
    now = torch.tensor(t, dtype=dtype, device="cpu")
    if not ((velocity.low <= 0 and velocity.high >= 1) or velocity.inside(now)):
        return toward
    return replace(velocity, toward=toward, away=velocity_at(velocity.away, t, dtype)).everywhere


def check_interval(interval: Interval, name: str = "interval") -> None:
    """Refuse what is no two times in [0, 1], the earlier first; NEVER is one more."""
    pair = tuple(interval) if isinstance(interval, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(end, Real) for end in pair):
        raise ValueError(f"{name}: expected two times (low, high), got {interval!r}")
    low, high = pair
    if pair != NEVER and not 0 <= low <= high <= 1:
        raise ValueError(
            f"{name}: expected (low, high) with low <= high in [0, 1] (0 data, 1 noise), got {pair}; "
            "published timesteps of 0 to 1000 are divided by 1000, and NEVER, (1, 0), switches off"
        )


def _guide(away: Velocity, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    other = away(x_t, t)
    if other.shape != v.shape:
        raise ValueError(
            f"guide: expected a velocity of shape {tuple(v.shape)}, got {tuple(other.shape)}; "
            "a guide must have the grid and the channels of the network it guides"
        )
    return other
