"""Solvers that choose their own steps, by torchdiffeq (the extra `ode`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unimm.flow.checks import check_grid, check_velocity
from unimm.flow.solver import OnStep, Velocity, as_state, begin, finish


def dopri5(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None = None,
    *,
    relative_tolerance: float = 1e-3,
    absolute_tolerance: float = 1e-6,
) -> Tensor:
    """Follow the velocity from grid[0] to grid[-1] with Dormand & Prince's adaptive fifth-order method.

    Args:
        velocity, x: as in `solver.euler`.
        grid: only its ends matter; the steps between follow from the tolerances, those of SiT and RAE.
        on_step: called as on_step(i, x) after each accepted step.
        relative_tolerance, absolute_tolerance: of the error of a step, over the whole batch: a sample's last
            digits depend on its neighbours here, unlike with the fixed steps of `solver`.

    Raises:
        ValueError: as `euler`, and where the steps became too small to go on.
        ModuleNotFoundError: torchdiffeq is not installed.
    """
    check_grid(grid)
    stops = {"step_t": grid[[0, -1]].to(as_state(x))}
    return _follow(velocity, x, grid, on_step, relative_tolerance, absolute_tolerance, stops)


def dopri5_past_end(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None = None,
    *,
    relative_tolerance: float = 1e-3,
    absolute_tolerance: float = 1e-6,
) -> Tensor:
    """Follow as SiT's and RAE's code does: the last step goes past grid[-1] and is interpolated back to it.

    For published numbers: the velocity is asked at times below 0, which no network has learnt and bodies
    refuse. As `dopri5`.
    """
    return _follow(velocity, x, grid, on_step, relative_tolerance, absolute_tolerance, {})


def _follow(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None,
    relative_tolerance: float,
    absolute_tolerance: float,
    options: dict[str, Any],
) -> Tensor:
    """Follow with torchdiffeq's dopri5 and these options of it."""
    from torchdiffeq import odeint

    check_grid(grid)
    x = begin(x)
    field = _Field(velocity, on_step)
    ends = grid[[0, -1]].to(x)
    tolerances = {"rtol": relative_tolerance, "atol": absolute_tolerance}
    try:
        with torch.no_grad():
            states = odeint(field, x, ends, method="dopri5", **tolerances, options=options)
    except AssertionError as error:  # torchdiffeq's word for a step that shrank to nothing
        raise ValueError(f"dopri5: expected a velocity it can follow; it gave up: {error}") from error
    if on_step is not None:
        on_step(field.accepted - 1, states[-1])
    return finish(states[-1])


class _Field:
    """A velocity as torchdiffeq calls it, f(t, x), counting the steps it accepts."""

    def __init__(self, velocity: Velocity, on_step: OnStep | None):
        self.velocity, self.on_step, self.accepted = velocity, on_step, 0

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        v = self.velocity(x, t.to(x.dtype).repeat(len(x)))
        check_velocity(v, x)
        return v.to(x.dtype)

    def callback_accept_step(self, t: Tensor, x: Tensor, length: Tensor) -> None:
        """Told before the state moves: x is where the previous step ended."""
        if self.on_step is not None and self.accepted:
            self.on_step(self.accepted - 1, x)
        self.accepted += 1
