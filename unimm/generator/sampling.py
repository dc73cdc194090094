"""From noise to latents: the solvers by one name, guidance by what is asked, one seed per picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimm.flow.grids import GRIDS
from unimm.flow.guidance import autoguided, channel_guided, guided
from unimm.flow.sde import DIFFUSIONS, draws, euler_maruyama, heun_maruyama
from unimm.flow.solvers import SOLVERS
from unimm.request import passes

if TYPE_CHECKING:
    from unimm.generator.settings import SamplingSettings

Velocity = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, int], None]
Generators = Sequence[torch.Generator]


def _quiet(solver: Callable, generators: Generators, sampling: SamplingSettings) -> Callable:
    """Return a solver that adds no noise, as it is."""
    return solver


def _noisy(solver: Callable, generators: Generators, sampling: SamplingSettings) -> Callable:
    """Return a solver that adds noise, drawn on from each picture's own generator."""
    return partial(solver, draw=draws(generators), diffusion=DIFFUSIONS[sampling.diffusion])


SAMPLERS: dict[str, tuple[Callable, Callable]] = {
    **{name: (_quiet, solver) for name, solver in SOLVERS.items()},
    "euler_maruyama": (_noisy, euler_maruyama),
    "heun_maruyama": (_noisy, heun_maruyama),
}
"""Solvers by name: those of the ODE, and those that add noise on the way."""

ALONE = ("dopri5",)
"""Solvers whose steps follow the error of a whole batch: they draw each picture by itself."""


def draw_latents(
    velocity: Callable[[slice], Velocity],
    seeds: Sequence[int],
    shape: tuple[int, int],
    sampling: SamplingSettings,
    alpha: float,
    device: torch.device,
    callback: Callback | None = None,
) -> Tensor:
    """Return latents [M N C], float32; each is a function of its own seed and condition.

    Args:
        velocity: `velocity(piece)(x_t, t)`, the velocity of the pictures in a slice of them all.
        seeds: M numbers.
        shape: N and C.
        sampling: steps, solver, grid.
        alpha: shift of the grid where the sampling names none.
        device: where the velocity computes; noise is drawn on the CPU, the same for every device.
        callback: called with (step, total) after every step; adaptive solvers count more or fewer.
    """
    wrap, solver = SAMPLERS[sampling.solver]
    grid = GRIDS[sampling.grid](sampling.num_inference_steps, sampling.alpha or alpha)
    pieces, drawn = list(passes(len(seeds), 1 if sampling.solver in ALONE else None)), []
    steps = len(grid) - 1
    for done, piece in enumerate(pieces):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[piece]]
        noise = torch.stack([torch.randn(*shape, generator=generator) for generator in generators])
        on_step = None if callback is None else partial(_told, callback, done * steps, len(pieces) * steps)
        solve = wrap(solver, generators, sampling)
        drawn.append(solve(velocity(piece), noise.to(device), grid, on_step=on_step))
    return torch.cat(drawn)


def guide(toward: Velocity, away: Velocity, sampling: SamplingSettings, by_network: bool) -> Velocity:
    """Return the guided velocity that the settings ask for.

    Args:
        toward: under the conditions.
        away: under none, under a negative prompt, or of a weaker network.
        sampling: scale, interval, channels.
        by_network: whether `away` is another network's (AutoGuidance).
    """
    scale, interval = sampling.guidance_scale, sampling.guidance_interval
    if sampling.guidance_channels is not None:
        return channel_guided(toward, away, scale, interval, sampling.guidance_channels)
    return (autoguided if by_network else guided)(toward, away, scale, interval)


def _told(callback: Callback, before: int, total: int, step: int, x: Tensor) -> None:
    callback(before + step + 1, total)
