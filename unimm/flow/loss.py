"""The flow-matching loss, its direction term, and the loss on a curved path."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.flow.checks import check_times, check_velocity, outside
from unimm.flow.path import interpolate, velocity_target
from unimm.flow.paths import Path

Velocity = Callable[[Tensor, Tensor], Tensor]


def velocity_loss(
    velocity: Velocity,
    x: Tensor,
    noise: Tensor,
    t: Tensor,
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the mean squared error of each sample's velocity, float32 [B].

    Args:
        velocity: `f(x_t, t) -> v`, with v of the shape of x.
        x: [B ...] data; a constant of the loss.
        noise: e, standard normal, shape of x.
        t: [B] in [0, 1].
        weight: a function of t [B] that multiplies each sample's error (`weights.Weight`).

    Raises:
        ValueError: shapes differ, the velocity has another shape than x (it would broadcast), or t leaves
            [0, 1]. On an accelerator, where asking would stall it, such a sample's loss is NaN instead.
    """
    predicted, target = predict(velocity, x, noise, t)
    error = (predicted - target).square().flatten(1).mean(1)
    return error if weight is None else error * weight(t.float())


class DirectedLoss(NamedTuple):
    """Two terms, each [B]: the squared error, and 1 - cosine of predicted and true velocity."""

    error: Tensor
    direction: Tensor


def directed_loss(velocity: Velocity, x: Tensor, noise: Tensor, t: Tensor) -> DirectedLoss:
    """Return LightningDiT's two terms from one evaluation, float32 [B] each; it adds them with weight 1.

    The cosine runs over the channels, the last dimension of x [B ... C], at every position (Yao et al. 2025,
    section 4). Arguments and errors as in `velocity_loss`.
    """
    predicted, target = predict(velocity, x, noise, t)
    error = (predicted - target).square().flatten(1).mean(1)
    return DirectedLoss(error, direction_loss(predicted, target))


def direction_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean over positions of 1 - cos(predicted, target) over the channels, [B] of [B ... C]."""
    return (1 - F.cosine_similarity(predicted, target, dim=-1)).flatten(1).mean(1)


def path_loss(velocity: Velocity, x: Tensor, noise: Tensor, t: Tensor, path: Path) -> Tensor:
    """Return each sample's mean squared error on a path of `paths`, float32 [B]; as `velocity_loss`."""
    x, noise = x.float(), noise.float()
    predicted = _evaluate(velocity, path.interpolate(x, noise, t.float()), t)
    return (predicted - path.velocity_target(x, noise, t.float())).square().flatten(1).mean(1)


def predict(velocity: Velocity, x: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return predicted and true velocity, float32, of the shape of x; errors are those of `velocity_loss`."""
    x, noise = x.float(), noise.float()
    return _evaluate(velocity, interpolate(x, noise, t.float()), t), velocity_target(x, noise)


def _evaluate(velocity: Velocity, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the velocity, float32, of the shape of x_t; refuse t outside [0, 1], or make its rows NaN."""
    on_cpu = t.device.type == "cpu"
    if on_cpu and not torch.compiler.is_compiling():
        check_times(t)
    predicted = velocity(x_t, t)
    check_velocity(predicted, x_t)
    return predicted.float() if on_cpu else spoil_outside(predicted.float(), t)


def spoil_outside(predicted: Tensor, t: Tensor) -> Tensor:
    """Return the velocity [B ...], NaN in the samples whose t [B] leaves [0, 1]; the device is not asked."""
    return predicted.masked_fill(outside(t).reshape(-1, *[1] * (predicted.dim() - 1)), torch.nan)
