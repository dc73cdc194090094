"""Solvers of dx/dt = v(x, t) from noise to data. The state and the times are float32, always."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def euler(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    grid: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Follow the velocity along a grid with Euler's method; one evaluation per step.

    Args:
        velocity: `f(x_t [B ...], t [B]) -> v`; called with float32.
        x: [B ...] the state at grid[0]: standard normal noise when the grid starts at 1.
        grid: [steps + 1] times in the order they are visited.
        on_step: called as on_step(i, x) after step i, for progress; it must not change x.

    Returns:
        float32 state at grid[-1], shape of x.
    """
    return integrate_transitions(velocity, x, torch.stack([grid[:-1], grid[1:]], dim=1), on_step)


@torch.no_grad()
def integrate_transitions(
    velocity: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    pairs: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Apply x <- x + (to - from) v(x, from) for each row of pairs [steps 2] in order.

    Rows need not join up; that is what the published Scale-RAE sampler needs
    (`grids.scale_rae_transitions`). Other arguments and the result are those of `euler`.
    """
    x = x.float()
    for i, (start, end) in enumerate(pairs.tolist()):
        t = torch.full((x.shape[0],), start, dtype=torch.float32, device=x.device)
        x = x + (end - start) * velocity(x, t).float()
        if on_step is not None:
            on_step(i, x)
    return x
