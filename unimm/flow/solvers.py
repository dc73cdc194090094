"""Solvers by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unimm.flow.adaptive import dopri5
from unimm.flow.solver import euler, heun, heun_euler_last, midpoint, rk4, rk4_38

Solver = Callable[..., Tensor]

SOLVERS: dict[str, Solver] = {
    "euler": euler,
    "heun": heun,
    "heun_euler_last": heun_euler_last,
    "midpoint": midpoint,
    "rk4": rk4,
    "rk4_38": rk4_38,
    "dopri5": dopri5,
}
"""Each `solver(velocity, x, grid, on_step=None) -> x`. Evaluations per step: 1, 2, 2, 2, 4, 4, and
as many as needed."""
