"""The flow-matching loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unimm.flow.path import interpolate, velocity_target


def velocity_loss(
    velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    """Return the mean squared error of each sample's velocity, float32 [B].

    Args:
        velocity: `f(x_t, t) -> v`, with v of the shape of x.
        x: [B ...] data; a constant of the loss.
        noise: e, standard normal, shape of x.
        t: [B] in [0, 1].

    Raises:
        ValueError: shapes differ, or the velocity has another shape than x (it would broadcast).
    """
    x, noise = x.float(), noise.float()
    predicted = velocity(interpolate(x, noise, t.float()), t)
    if predicted.shape != x.shape:
        raise ValueError(f"velocity: expected the shape of x {tuple(x.shape)}, got {tuple(predicted.shape)}")
    return (predicted.float() - velocity_target(x, noise)).square().flatten(1).mean(1)
