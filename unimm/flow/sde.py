"""Samplers that add noise on the way from noise to data.

For every w(t) >= 0 the equation `dx = [v - (w/2) s] dt + sqrt(w) dW`, run from t = 1 to 0 with the score
`s = -(x + (1 - t) v) / t`, has the marginals of `dx = v dt` (Song et al. 2021; Ma et al. 2024,
equation 7). The steps are differences of the times on the grid itself, so a shifted grid needs nothing more.
(The published SiT and RAE loop takes its last step as if the grid were not shifted.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from unimm.flow.checks import check_grid
from unimm.flow.solver import OnStep, Velocity, begin, evaluate, finish, reached

Draw = Callable[[int, Tensor], Tensor]
"""`draw(i, x)`: the standard normal noise of step i, of the shape of x."""

Step = Callable[[int, Tensor, float, float], Tensor]
"""`step(i, x, from, to)`: the state after step i, which leads from one time to an earlier one."""

Diffusion = Callable[[float], float]
"""`w(t)`: the variance that the noise of a step adds, per unit of time."""


def draws(generators: Sequence[torch.Generator]) -> Draw:
    """Return noise of one generator per sample, so that a sample depends on its own seed alone.

    Raises:
        ValueError: at the first draw, if there is not one generator per sample.
    """

    def draw(step: int, x: Tensor) -> Tensor:
        if len(generators) != len(x):
            raise ValueError(f"generators: expected one per sample, {len(x)}, got {len(generators)}")
        rows = [torch.randn(x.shape[1:], generator=g, device=g.device, dtype=x.dtype) for g in generators]
        return torch.stack([row.to(x.device) for row in rows])

    return draw


def proportional(t: float) -> float:
    """Return w = 2 t: REPA's, and SiT's "sigma" and "linear" on the straight path."""
    return 2 * t


def constant(t: float) -> float:
    """Return w = 2 (SiT's "constant")."""
    return 2.0


def decreasing(t: float) -> float:
    """Return w = (1 - cos(pi t))^2 / 2: most at noise (SiT's "decreasing")."""
    return (1 - math.cos(math.pi * t)) ** 2 / 2


def hump(t: float) -> float:
    """Return w = 2 sin^2(pi t): none at both ends (SiT's "inccreasing-decreasing")."""
    return 2 * math.sin(math.pi * t) ** 2


def sbdm(t: float) -> float:
    """Return w = 2 t / (1 - t), that of the forward SDE (SiT's "SBDM"); infinite at t = 1."""
    return 2 * t / (1 - t) if t < 1 else math.inf


DIFFUSIONS: dict[str, Diffusion] = {
    "proportional": proportional,
    "constant": constant,
    "decreasing": decreasing,
    "hump": hump,
    "sbdm": sbdm,
}
"""By name; a function of t scaled by any factor keeps the marginals too."""


def euler_maruyama(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None = None,
    *,
    draw: Draw,
    diffusion: Diffusion = proportional,
) -> Tensor:
    """Follow the equation above down a grid; the step that ends at 0 adds no noise, as in REPA and SiT.

    Args:
        velocity, x, on_step: as in `solver.euler`.
        grid: [steps + 1] falling times in [0, 1].
        draw: the noise of each step, such as `draws(generators)`; not asked at a step that ends at 0.
        diffusion: w(t).

    Raises:
        ValueError: as `euler`; the grid rises; w is infinite or negative on it.
    """
    return descend(euler_maruyama_step(velocity, draw, diffusion), x, grid, on_step, diffusion)


def euler_maruyama_step(velocity: Velocity, draw: Draw, diffusion: Diffusion) -> Step:
    """Return the step of `euler_maruyama`."""

    def step(i: int, x: Tensor, start: float, end: float) -> Tensor:
        w = diffusion(start)
        mean = mean_step(x, evaluate(velocity, x, start), start, end - start, w)
        return mean if end == 0 else mean + math.sqrt(w * (start - end)) * draw(i, x).to(x)

    return step


def heun_maruyama(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None = None,
    *,
    draw: Draw,
    diffusion: Diffusion = proportional,
) -> Tensor:
    """Follow the same equation, each step adding its noise first and then taking Heun's method for the drift.

    SiT's "Heun" SDE sampler: two evaluations per step, one in the step that ends at 0. As `euler_maruyama`.
    """
    return descend(heun_maruyama_step(velocity, draw, diffusion), x, grid, on_step, diffusion)


def heun_maruyama_step(velocity: Velocity, draw: Draw, diffusion: Diffusion) -> Step:
    """Return the step of `heun_maruyama`."""

    def step(i: int, x: Tensor, start: float, end: float) -> Tensor:
        w, length = diffusion(start), end - start
        if end == 0:
            return mean_step(x, evaluate(velocity, x, start), start, length, w)
        x = x + math.sqrt(-w * length) * draw(i, x).to(x)
        first = mean_step(x, evaluate(velocity, x, start), start, length, w)
        second = mean_step(first, evaluate(velocity, first, end), end, length, diffusion(end))
        return x + ((first - x) + (second - first)) / 2

    return step


def renoising(
    velocity: Velocity, x: Tensor, grid: Tensor, on_step: OnStep | None = None, *, draw: Draw
) -> Tensor:
    """Jump to the data that the velocity points at, and add fresh noise of the next time, at every step.

    diffusers' "stochastic_sampling", for velocities distilled to few steps (Song et al. 2023, algorithm 1);
    with an undistilled one the marginals are not kept. As `euler_maruyama`.
    """

    def step(i: int, x: Tensor, start: float, end: float) -> Tensor:
        data = x - start * evaluate(velocity, x, start)
        return data if end == 0 else (1 - end) * data + end * draw(i, x).to(x)

    return descend(step, x, grid, on_step)


def mean_step(x: Tensor, v: Tensor, t: float, length: float, w: float) -> Tensor:
    """Return x + length (v - (w / 2) s) with the score of v at t; length < 0 leads to data."""
    pull = w / (2 * t)  # of the noise x + (1 - t) v, which is -t s
    return (1 + length * pull) * x + length * (1 + pull * (1 - t)) * v


def descend(
    step: Step,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None,
    diffusion: Diffusion | None = None,
) -> Tensor:
    """Take steps down a grid; check state, grid and w at the door and the end."""
    x = begin(x)
    return finish(reached(x, descent(step, x, grid, diffusion), on_step))


@torch.no_grad()
def descent(step: Step, x: Tensor, grid: Tensor, diffusion: Diffusion | None = None) -> Iterator[Tensor]:
    """Yield the state after each step down a grid; x is float32 or float64."""
    check_grid(grid)
    times = grid.double().clamp(0, 1).tolist()
    check_descent(times, diffusion)
    for i, (start, end) in enumerate(pairwise(times)):
        x = step(i, x, start, end)
        yield x


def check_descent(times: Sequence[float], diffusion: Diffusion | None = None) -> None:
    """Refuse a grid that does not fall all the way, or on which w is infinite or negative."""
    if any(end >= start for start, end in pairwise(times)):
        raise ValueError(
            "grid: expected falling times for a sampler that adds noise, got some that rise or rest"
        )
    for t in times[:-1] if diffusion else ():
        w = diffusion(t)
        if not 0 <= w < math.inf:
            raise ValueError(
                f"diffusion: expected a finite w >= 0 on the whole grid, got {w} at t = {t:g}; "
                "start the grid lower or take another diffusion"
            )
