"""Solvers of dx/dt = v(x, t), from noise to data or back, over any velocity and any time grid.

State and times are float32 whatever the velocity computes in; a float64 state keeps its float64, for numbers
that are to be compared. Explicit Runge-Kutta methods are tables (Butcher 2016); the adaptive one is in
`adaptive`, those that add noise in `sde`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unimm.flow.checks import check_finite, check_grid, check_velocity
from unimm.flow.guidance import velocity_at

Velocity = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: slope s is taken at `nodes[s]`, after `stages[s]` of those before."""

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


EULER = Tableau((0,), ((),), (1,))
HEUN = Tableau((0, 1), ((), (1,)), (1 / 2, 1 / 2))
MIDPOINT = Tableau((0, 1 / 2), ((), (1 / 2,)), (0, 1))
RK4 = Tableau((0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
RK4_38 = Tableau((0, 1 / 3, 2 / 3, 1), ((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)), (1 / 8, 3 / 8, 3 / 8, 1 / 8))


def euler(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow the velocity along a grid with Euler's method; one evaluation per step, first order.

    Args:
        velocity: `f(x_t [B ...], t [B]) -> v`; called with float32.
        x: [B ...] the state at grid[0]: standard normal noise when the grid starts at 1.
        grid: [steps + 1] times in [0, 1] in the order they are visited.
        on_step: called as on_step(i, x) after step i, for progress; it must not change x.

    Returns:
        float32 state at grid[-1], shape of x.

    Raises:
        ValueError: x or the result is not finite, the grid is none, or a velocity has another shape than x.
    """
    return follow(EULER, velocity, x, grid, on_step)


def heun(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow with Heun's method: two evaluations per step, second order. As `euler`."""
    return follow(HEUN, velocity, x, grid, on_step)


def heun_euler_last(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow with Heun's method, the last step with Euler's, as REPA's sampler does. As `euler`.

    The last step then needs no velocity at grid[-1] (Karras et al. 2022, algorithm 1).
    """
    check_grid(grid)
    x = begin(x)
    return finish(reached(x, heun_euler_last_states(velocity, x, grid), on_step))


def heun_euler_last_states(velocity: Velocity, x: Tensor, grid: Tensor) -> Iterator[Tensor]:
    """Yield the states of `heun_euler_last`, one for each step."""
    last = x
    for last in states(HEUN, velocity, x, pairs_of(grid[:-1])):
        yield last
    yield from states(EULER, velocity, last, pairs_of(grid[-2:]))


def midpoint(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow with the midpoint method: two evaluations per step, second order. As `euler`."""
    return follow(MIDPOINT, velocity, x, grid, on_step)


def rk4(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow with the classic Runge-Kutta method: four evaluations per step, fourth order. As `euler`."""
    return follow(RK4, velocity, x, grid, on_step)


def rk4_38(velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Follow with Kutta's 3/8 rule, which torchdiffeq, and so RAE and SiT, call "rk4". As `euler`."""
    return follow(RK4_38, velocity, x, grid, on_step)


def follow(
    tableau: Tableau, velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None
) -> Tensor:
    """Follow the velocity along a grid with any explicit Runge-Kutta method. As `euler`."""
    check_grid(grid)
    x = begin(x)
    return finish(reached(x, states(tableau, velocity, x, pairs_of(grid)), on_step))


def integrate_transitions(
    velocity: Velocity, x: Tensor, pairs: Tensor, on_step: OnStep | None = None
) -> Tensor:
    """Apply x <- x + (to - from) v(x, from) for each row of pairs [steps 2] in order.

    Rows need not join up; that is what the published Scale-RAE sampler needs
    (`grids.scale_rae_transitions`). Other arguments and the result are those of `euler`; numbers are not
    checked, so that it can be called once per step without waiting for a device.
    """
    x = as_state(x)
    return reached(x, states(EULER, velocity, x, pairs), on_step)


@torch.no_grad()
def states(tableau: Tableau, velocity: Velocity, x: Tensor, pairs: Tensor) -> Iterator[Tensor]:
    """Yield the state after one step of the method for each row (from, to) of pairs [steps 2].

    The state x is float32 or float64. Numbers are not checked, so that no device is waited for.
    """
    for start, end in pairs.double().tolist():
        length = end - start
        slopes: list[Tensor] = []
        for node, row in zip(tableau.nodes, tableau.stages, strict=True):
            t = end if node == 1 else start + node * length
            slopes.append(evaluate(velocity, advance(x, length, row, slopes), t))
        x = advance(x, length, tableau.weights, slopes)
        yield x


def reached(x: Tensor, states: Iterator[Tensor], on_step: OnStep | None) -> Tensor:
    """Return the last of the states, or x if there is none; each is told as on_step(i, state)."""
    for i, x in enumerate(states):
        if on_step is not None:
            on_step(i, x)
    return x


def evaluate(velocity: Velocity, x: Tensor, t: float) -> Tensor:
    """Return v [B ...] in the dtype of x, all samples at time t; refuse another shape.

    The times [B] are written on the device of x, which is not waited for.
    """
    times = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
    v = velocity_at(velocity, t, x.dtype)(x, times)
    check_velocity(v, x)
    return v.to(x.dtype)


def advance(x: Tensor, length: float, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Return x + length sum(weight slope); a weight of 0 costs nothing."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x = x + (length * weight) * slope
    return x


def pairs_of(grid: Tensor) -> Tensor:
    """Return the (from, to) times [steps 2] of a grid [steps + 1]."""
    return torch.stack([grid[:-1], grid[1:]], dim=1)


def as_state(x: Tensor) -> Tensor:
    """Return x as float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def begin(x: Tensor) -> Tensor:
    """Return the state to start from: x, which must be finite, as float32 or float64."""
    check_finite(x, "x", "look at where the latents came from")
    return as_state(x)


def finish(x: Tensor) -> Tensor:
    """Return the state at the end, which must be finite."""
    check_finite(x, "drawn latents", "the velocity diverged; try a smaller guidance scale or more steps")
    return x
