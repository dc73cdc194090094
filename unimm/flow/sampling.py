"""From noise to latents: samplers by one name, guidance by what is asked, one seed per picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor

from unimm.flow.adaptive import dopri5
from unimm.flow.checks import check_grid, check_steps
from unimm.flow.grids import GRIDS, check_scale_rae_steps, clean_grid, scale_rae_transitions
from unimm.flow.guidance import ALWAYS, autoguided, channel_guided, check_interval, guided
from unimm.flow.sde import DIFFUSIONS, descent, draws, euler_maruyama_step, heun_maruyama_step
from unimm.flow.solver import (
    EULER,
    HEUN,
    MIDPOINT,
    RK4,
    RK4_38,
    Tableau,
    Velocity,
    begin,
    finish,
    heun_euler_last_states,
    pairs_of,
    states,
)
from unimm.request import generator_of, passes
from unimm.tables import pick

Callback = Callable[[int, int], None]
OnLatents = Callable[[int, int, Tensor], None]


@dataclass(frozen=True)
class Noise:
    """The noise that a sampler adds on its way."""

    generators: Sequence[torch.Generator]  # one per picture, which drew its first noise too
    diffusion: str  # a row of DIFFUSIONS


def _along_grid(
    tableau: Tableau, velocity: Velocity, x: Tensor, grid: Tensor, noise: Noise
) -> Iterator[Tensor]:
    return states(tableau, velocity, x, pairs_of(grid))


def _along_pairs(velocity: Velocity, x: Tensor, pairs: Tensor, noise: Noise) -> Iterator[Tensor]:
    return states(EULER, velocity, x, pairs)


def _heun_euler_last(velocity: Velocity, x: Tensor, grid: Tensor, noise: Noise) -> Iterator[Tensor]:
    return heun_euler_last_states(velocity, x, grid)


def _noisily(
    make_step: Callable, velocity: Velocity, x: Tensor, grid: Tensor, noise: Noise
) -> Iterator[Tensor]:
    diffusion = DIFFUSIONS[noise.diffusion]
    return descent(make_step(velocity, draws(noise.generators), diffusion), x, grid, diffusion)


def _to_the_end(velocity: Velocity, x: Tensor, grid: Tensor, noise: Noise) -> Iterator[Tensor]:
    yield dopri5(velocity, x, grid)


@dataclass(frozen=True)
class Sampler:
    """One way from noise to latents."""

    states: Callable[[Velocity, Tensor, Tensor, Noise], Iterator[Tensor]]
    """`states(velocity, x, times, noise)`: the latents after each step."""
    times: Callable[[int, float], Tensor] | None = None
    """Times of its own, `times(steps, alpha)`; None: the grid that the settings name."""
    adaptive: bool = False
    """Whether its steps follow the error of a whole batch: it draws each picture by itself and tells of its
    end only."""
    check: Callable[[int, str], None] = check_steps
    """`check(steps, name)` refuses a number of steps that it cannot take."""


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(partial(_along_grid, EULER)),
    "heun": Sampler(partial(_along_grid, HEUN)),
    "heun_euler_last": Sampler(_heun_euler_last),
    "midpoint": Sampler(partial(_along_grid, MIDPOINT)),
    "rk4": Sampler(partial(_along_grid, RK4)),
    "rk4_38": Sampler(partial(_along_grid, RK4_38)),
    "dopri5": Sampler(_to_the_end, adaptive=True),
    "euler_maruyama": Sampler(partial(_noisily, euler_maruyama_step)),
    "heun_maruyama": Sampler(partial(_noisily, heun_maruyama_step)),
    "clean": Sampler(partial(_along_grid, EULER), clean_grid),
    "scale_rae": Sampler(_along_pairs, scale_rae_transitions, check=check_scale_rae_steps),
}
"""By name: the solvers of `SOLVERS`, those that add noise, and two that bring their own times: "clean",
Euler's method on the clean grid, and "scale_rae", the published sampler with its quirks."""


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn."""

    num_inference_steps: int = 50
    guidance_scale: float = 1.0  # 1 is no guidance; others cost a second evaluation
    solver: str = "euler"  # a row of SAMPLERS
    grid: str = "clean"  # a row of GRIDS, for samplers without times of their own
    alpha: float | None = None  # shift of the grid; null is that of the training
    diffusion: str = "proportional"  # of the solvers that add noise, a row of DIFFUSIONS
    guidance_interval: tuple[float, float] = ALWAYS  # times in which guidance acts; 0 is data
    guidance_channels: int | None = None  # guide the first channels alone: 3 in LightningDiT

    def __post_init__(self) -> None:
        sampler = pick("solver", self.solver, SAMPLERS)
        sampler.check(self.num_inference_steps, "num_inference_steps")
        pick("grid", self.grid, GRIDS)
        pick("diffusion", self.diffusion, DIFFUSIONS)
        check_scale(self.guidance_scale)
        check_interval(self.guidance_interval, "guidance_interval")
        if sampler.times is not None and self.grid != "clean":
            raise ValueError(
                f"grid: the solver {self.solver!r} brings its own times, got {self.grid!r}; "
                "leave it out, or take 'euler' or another solver"
            )
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha: expected a positive shift or null, got {self.alpha}")
        if self.guidance_channels is not None and self.guidance_channels < 1:
            raise ValueError(f"guidance_channels: expected at least 1 or null, got {self.guidance_channels}")

    @property
    def sampler(self) -> Sampler:
        """The row of SAMPLERS."""
        return SAMPLERS[self.solver]

    def times(self, alpha: float) -> Tensor:
        """Return what the sampler visits, float64: a grid [steps + 1], or (from, to) pairs [steps 2].

        Args:
            alpha: shift of the grid where these settings name none.
        """
        make = self.sampler.times or GRIDS[self.grid]
        return make(self.num_inference_steps, self.alpha or alpha)


@dataclass(frozen=True)
class DrawingState:
    """Latents [B N C] after `step` of `total` steps."""

    step: int
    total: int
    latents: Tensor


def draw_states(
    velocity: Velocity,
    seeds: Sequence[int],
    shape: tuple[int, int],
    sampling: Sampling,
    alpha: float,
    device: torch.device,
) -> Iterator[DrawingState]:
    """Yield the latents [B N C], float32, after each step; pictures are functions of their own seeds.

    Args:
        velocity: `f(x_t [B N C], t [B]) -> v` of the B pictures.
        seeds: B numbers.
        shape: N and C.
        sampling: steps, solver, grid.
        alpha: shift of the grid where the sampling names none.
        device: where the velocity computes; noise is drawn on the CPU, the same for every device.

    Raises:
        ValueError: the latents are not finite at the end.
    """
    sampler, times = sampling.sampler, sampling.times(alpha)
    if times.ndim == 1:
        check_grid(times)
    generators = [generator_of(seed) for seed in seeds]
    noise = torch.stack([torch.randn(*shape, generator=generator) for generator in generators])
    x, total = begin(noise.to(device)), 1 if sampler.adaptive else len(times) - (times.ndim == 1)
    found = sampler.states(velocity, x, times, Noise(generators, sampling.diffusion))
    for step, x in enumerate(found, 1):
        yield DrawingState(step, total, finish(x) if step == total else x)


def draw_latents(
    velocity: Callable[[slice], Velocity],
    seeds: Sequence[int],
    shape: tuple[int, int],
    sampling: Sampling,
    alpha: float,
    device: torch.device,
    callback: Callback | None = None,
    *,
    on_step: OnLatents | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Return latents [M N C], float32; each is a function of its own seed and condition.

    Args:
        velocity: `velocity(piece)(x_t, t)`, the velocity of the pictures in a slice of them all.
        callback: called with (step, total) after every step, over all passes.
        on_step: called with (step, total, latents [B N C] of the pass under way).
        batch_size: pictures in one pass at most; None is the usual size. Passes are equally large but for
            one picture.

    Others as in `draw_states`, seeds M numbers.
    """
    pieces = even_passes(len(seeds), 1 if sampling.sampler.adaptive else batch_size)
    drawn = []
    for done, piece in enumerate(pieces):
        for state in draw_states(velocity(piece), seeds[piece], shape, sampling, alpha, device):
            step, total = state.step + done * state.total, len(pieces) * state.total
            if callback is not None:
                callback(step, total)
            if on_step is not None:
                on_step(step, total, state.latents)
        drawn.append(state.latents)
    return torch.cat(drawn)


def even_passes(count: int, size: int | None = None) -> list[slice]:
    """Return as few passes as `passes` does, of sizes that differ by one at most."""
    number = len(list(passes(count, size)))
    bounds = [index * count // number for index in range(number + 1)] if number else [0]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def guide(toward: Velocity, away: Velocity, sampling: Sampling, by_network: bool = False) -> Velocity:
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


def check_scale(scale: float) -> None:
    """Refuse a scale of guidance that is no finite number."""
    if not isinstance(scale, Real) or isinstance(scale, bool) or not math.isfinite(scale):
        raise ValueError(f"guidance_scale: expected a finite number (1 is no guidance), got {scale!r}")
