"""Time grids for sampling: the clean one, and each published one under its own name.

A grid is visited in its order, from noise at 1 to data at 0. Published samplers that count grid points and
not steps say so at theirs. Grids are float64; solvers make their float32 times from them at the last
moment. In bfloat16 the published 50-point grid keeps 47 distinct values, so no grid is ever stored in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unimm.flow.checks import check_steps
from unimm.flow.shifting import shift

LOWEST = 1 / 1000
"""The last of the 1000 times that diffusers and Scale-RAE know."""


def shifted(times: Tensor, alpha: float) -> Tensor:
    """Return the shifted times; 1 stays 1 to the last bit, where rounding would carry some past it."""
    return torch.where(times == 1, 1.0, shift(times, alpha))


def clean_grid(steps: int, alpha: float = 1.0) -> Tensor:
    """Return the shifted grid, float64 [steps + 1], falling from exactly 1 (noise) to exactly 0 (data).

    It is also REPA's for its ODE samplers (alpha 1), Flux's, and that of diffusers' scheduler given
    `sigmas=linspace(1, 1/N, N)`. SiT and LightningDiT count points: their 250 are 249 steps; LightningDiT's
    timestep shift of 0.3, in time that runs from noise to data, is alpha = 1 / 0.3.
    """
    check_steps(steps)
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), alpha)


def rae_grid(steps: int, alpha: float = 1.0) -> Tensor:
    """Return RAE's grid, float64 [steps + 1], which stops at shift(0.001) instead of 0.

    RAE counts points: its `num_steps: 50` are 49 steps.
    """
    check_steps(steps)
    return shifted(1 - torch.linspace(0, 0.999, steps + 1, dtype=torch.float64), alpha)


def sde_grid(steps: int, alpha: float = 1.0, last: float = 0.04) -> Tensor:
    """Return REPA's and SiT's grid for SDE samplers, float64 [steps + 1]: evenly down to `last`, then 0.

    Both publish it at alpha 1; `last` stands before the shift. The long last step is the one without noise.
    """
    check_steps(steps)
    return _to_zero(shifted(torch.linspace(1, last, steps, dtype=torch.float64), alpha))


def diffusers_grid(steps: int, alpha: float = 1.0) -> Tensor:
    """Return the default grid of diffusers' flow-matching scheduler, float64 [steps + 1].

    Its ends come from an already shifted table and are shifted once more, so the last step is nearly
    wasted: with alpha 3 it starts at 0.0089. SD3 is published so.
    """
    check_steps(steps)
    lowest = shift(LOWEST, alpha)
    return _to_zero(shifted(torch.linspace(1, lowest, steps, dtype=torch.float64), alpha))


def diffusers_single_grid(steps: int, alpha: float = 1.0) -> Tensor:
    """Return diffusers' grid with the shift applied once (`set_shift`), float64 [steps + 1].

    Dynamic shifting is alpha = `dynamic_alpha(num_tokens)`, or `dynamic_mu(num_tokens)` where it is "linear".
    """
    check_steps(steps)
    return _to_zero(shifted(torch.linspace(1, LOWEST, steps, dtype=torch.float64), alpha))


def karras_grid(steps: int, alpha: float = 1.0, power: float = 7.0) -> Tensor:
    """Return diffusers' ends, even steps of t^(1/7) between (Karras et al. 2022), float64 [steps + 1]."""
    high, low = _ends(steps, alpha)
    even = torch.linspace(high ** (1 / power), low ** (1 / power), steps, dtype=torch.float64)
    return _to_zero(even**power)


def exponential_grid(steps: int, alpha: float = 1.0) -> Tensor:
    """Return diffusers' ends, and between them even steps of log t, float64 [steps + 1]."""
    high, low = _ends(steps, alpha)
    return _to_zero(torch.linspace(math.log(high), math.log(low), steps, dtype=torch.float64).exp())


def stretched_grid(grid: Tensor, terminal: float) -> Tensor:
    """Return a grid that ends in 0 with its last time before at `terminal` (diffusers, `shift_terminal`)."""
    if not 0 < terminal < 1:
        raise ValueError(f"terminal: expected a time between 0 and 1, got {terminal}")
    before = 1 - grid[:-1]
    return _to_zero(1 - before * ((1 - terminal) / before[-1]))


def inverted_grid(grid: Tensor) -> Tensor:
    """Return 1 - t: the same steps for a model whose t = 0 is noise (diffusers, `invert_sigmas`)."""
    return 1 - grid


def diffusers_training_times(alpha: float = 1.0) -> Tensor:
    """Return the 1000 times that diffusers' training scripts choose from, float64, falling from 1.

    An index drawn near 0 is noise there: a positive logit mean favours data, against the paper.
    """
    return shifted(torch.linspace(1, LOWEST, 1000, dtype=torch.float64), alpha)


def scale_rae_grid(steps: int, alpha: float) -> Tensor:
    """Return the published sampler's grid, float64 [steps], rising from near 0 to 1.

    g_i = shift(linspace(1/1000, 1, 1000)[k_i]) with k_i = round(i 999 / (steps - 1)).
    It never reaches 0: with alpha = 8.49 its first point is 0.0084.

    Raises:
        ValueError: fewer than 3 or more than 1000 points.
    """
    return shift(torch.linspace(1 / 1000, 1, 1000, dtype=torch.float64), alpha)[scale_rae_indices(steps)]


def scale_rae_indices(steps: int) -> Tensor:
    """Return which of the 1000 training times the published sampler keeps, int64 [steps]."""
    check_scale_rae_steps(steps)
    return torch.tensor([round(i * 999 / (steps - 1)) for i in range(steps)])


def check_scale_rae_steps(steps: int, name: str = "steps") -> None:
    """Refuse a number of grid points that the published sampler cannot go along."""
    check_steps(steps, name)
    if not 3 <= steps <= 1000:
        raise ValueError(f"{name}: the published sampler needs 3 to 1000 grid points, got {steps}")


def scale_rae_transitions(steps: int, alpha: float) -> Tensor:
    """Return the published sampler's (from, to) times, float64 [steps - 1, 2].

    Three quirks, kept because published numbers were made with them: "50 steps" are 49
    evaluations; pure noise is labelled with the second-highest time, not 1; and the last
    evaluation steps *backwards*, at that same high time, on the almost clean latents.
    """
    grid = scale_rae_grid(steps, alpha)
    downwards = torch.stack([grid[1:-1], grid[:-2]], dim=1).flip(0)
    return torch.cat([downwards, grid[None, -2:]])


def _ends(steps: int, alpha: float) -> tuple[float, float]:
    """Return the first and the last time before 0 of diffusers' default grid."""
    grid = diffusers_grid(steps, alpha)
    return grid[0].item(), grid[-2].item()


def _to_zero(grid: Tensor) -> Tensor:
    return torch.cat([grid, grid.new_zeros(1)])


GRIDS: dict[str, Callable[[int, float], Tensor]] = {
    "clean": clean_grid,
    "rae": rae_grid,
    "sde": sde_grid,
    "diffusers": diffusers_grid,
    "diffusers_single": diffusers_single_grid,
    "karras": karras_grid,
    "exponential": exponential_grid,
}
"""By name, each `grid(steps, alpha) -> [steps + 1]`. Scale-RAE's steps do not join up:
`scale_rae_transitions`."""
