"""Classifier-free guidance as a wrapper of velocities.

Ho & Salimans 2022; the interval is that of Kynkaanniemi et al. 2024.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]

NEVER = (1.0, 0.0)
"""The empty interval. The published Scale-RAE code tests its interval the wrong way round, so there
guidance never acts at any scale; its numbers are those of the conditional velocity alone."""


def guided(
    conditional: Velocity,
    unconditional: Velocity,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """Return the velocity v_u + scale (v_c - v_u) for times in the interval, v_c elsewhere.

    Args:
        conditional: `f(x_t, t) -> v` with the conditions.
        unconditional: the same with the null condition.
        scale: 1 is no guidance, and then `unconditional` is never called; 0 is unconditional.
        interval: (low, high) in t; guidance acts where low <= t <= high. All samples of a call
            share one time, as in every solver here.
    """
    if scale == 1.0 or interval[0] > interval[1]:
        return conditional

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        toward = conditional(x_t, t)
        if not interval[0] <= float(t.reshape(-1)[0]) <= interval[1]:
            return toward
        away = unconditional(x_t, t)
        return away + scale * (toward - away)

    return velocity
