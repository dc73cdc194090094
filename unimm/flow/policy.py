"""Drawing as a policy: SDE steps with the log-probability of each, for reinforcement learning.

Flow-GRPO (Liu et al. 2025, arXiv 2505.05470): the SDE of `sde` with w = level^2 t / (1 - t). Every step is a
Gaussian, so the chance of a step already taken can be asked of a newer network.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.flow.checks import ROUNDING, check_grid, check_velocity
from unimm.flow.sde import Draw, check_descent, mean_step
from unimm.flow.solver import OnStep, Velocity, begin, evaluate, finish


class Step(NamedTuple):
    """One Gaussian step from x at a time to a smaller one."""

    mean: Tensor  # [B ...]
    std: float  # of the step: sqrt(w |dt|)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of arriving at x [B ...], the mean over its numbers, [B].

        A mean, as Flow-GRPO takes it, so that the scale does not grow with the number of latents. Gradients
        reach the velocity through the mean; x is a constant.
        """
        check_velocity(x, self.mean, "next latents")
        error = (x.detach() - self.mean).square() / (2 * self.std**2)
        return (-error).flatten(1).mean(1) - math.log(self.std * math.sqrt(2 * math.pi))


class Trajectory(NamedTuple):
    """What was visited: states [steps + 1 B ...], the first the noise, and log-probabilities [steps B]."""

    states: Tensor
    log_probs: Tensor


def grpo_std(t: float, highest: float, level: float = 0.7) -> float:
    """Return sqrt(w) = level sqrt(t / (1 - t)) per root of time.

    Args:
        t: in (0, 1].
        highest: stands in for t in 1 - t at t = 1, where the value would be infinite: Flow-GRPO takes the
            second time of the grid.
        level: how much noise; 0.7 in the paper.
    """
    return level * math.sqrt(t / (1 - (highest if t >= 1 else t)))


def grpo_step(v: Tensor, x: Tensor, t: float, end: float, highest: float, level: float = 0.7) -> Step:
    """Return the step of the velocity v at x [B ...] from t to end; arguments as in `grpo_std`.

    Differentiable in v and x: for training, evaluate the network anew at a recorded state, and ask
    `.log_prob` of the next.

    Raises:
        ValueError: v has another shape than x, or the times do not fall inside [0, 1].
    """
    check_velocity(v, x)
    if not 0 <= end < t <= 1 + ROUNDING:
        raise ValueError(f"step: expected 0 <= end < t <= 1, got t={t} and end={end}")
    if t >= 1 and not 0 < highest < 1:
        raise ValueError(f"highest: expected a time between 0 and 1 to stand in for t = 1, got {highest}")
    std = grpo_std(t, highest, level)
    return Step(mean_step(x, v, t, end - t, std * std), std * math.sqrt(t - end))


@torch.no_grad()
def grpo_trajectory(
    velocity: Velocity,
    x: Tensor,
    grid: Tensor,
    on_step: OnStep | None = None,
    *,
    draw: Draw,
    level: float = 0.7,
) -> Trajectory:
    """Draw with Flow-GRPO's SDE and keep every state and its log-probability; the last step adds noise too.

    Args:
        velocity, x, on_step: as in `solver.euler`.
        grid: [steps + 1] falling times, at least two steps if it starts at 1.
        draw: the noise of each step, such as `sde.draws(generators)`.
        level: the paper's a; positive.

    Raises:
        ValueError: as `euler_maruyama`.
    """
    check_grid(grid)
    times = grid.double().clamp(0, 1).tolist()
    check_descent(times)
    if times[0] == 1 and len(times) < 3:
        raise ValueError("grid: expected at least two steps from pure noise, got one")
    if not level > 0:
        raise ValueError(f"level: expected a positive noise level, got {level}; without noise use euler")
    x = begin(x)
    states, log_probs = [x], []
    for i, (start, end) in enumerate(pairwise(times)):
        step = grpo_step(evaluate(velocity, x, start), x, start, end, times[1], level)
        x = step.mean + step.std * draw(i, x).to(x)
        states.append(x)
        log_probs.append(step.log_prob(x))
        if on_step is not None:
            on_step(i, x)
    finish(x)
    return Trajectory(torch.stack(states), torch.stack(log_probs))
