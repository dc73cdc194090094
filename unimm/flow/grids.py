"""Time grids for sampling: the clean one, and the published Scale-RAE one under its own name.

Grids are float64; solvers make their float32 times from them at the last moment. In bfloat16 the
published 50-point grid keeps 47 distinct values, so no grid is ever stored in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimm.flow.density import shift


def clean_grid(steps: int, alpha: float) -> Tensor:
    """Return the shifted grid, float64 [steps + 1], falling from exactly 1 (noise) to exactly 0 (data)."""
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    return shift(torch.linspace(1, 0, steps + 1, dtype=torch.float64), alpha)


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
    if not 3 <= steps <= 1000:
        raise ValueError(f"steps: the published sampler needs 3 to 1000 grid points, got {steps}")
    return torch.tensor([round(i * 999 / (steps - 1)) for i in range(steps)])


def scale_rae_transitions(steps: int, alpha: float) -> Tensor:
    """Return the published sampler's (from, to) times, float64 [steps - 1, 2].

    Three quirks, kept because published numbers were made with them: "50 steps" are 49
    evaluations; pure noise is labelled with the second-highest time, not 1; and the last
    evaluation steps *backwards*, at that same high time, on the almost clean latents.
    """
    grid = scale_rae_grid(steps, alpha)
    downwards = torch.stack([grid[1:-1], grid[:-2]], dim=1).flip(0)
    return torch.cat([downwards, grid[None, -2:]])
