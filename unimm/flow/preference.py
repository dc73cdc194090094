"""Learning from pairs: Diffusion-DPO for velocities (Wallace et al. 2023; Liu et al. 2025, arXiv 2501.13918).

The better and the worse picture of a prompt share one time and one noise. With errors |v* - v|^2 of the
trained and of a frozen reference network, loss = -log sigmoid(-(beta / 2) [(e_w - r_w) - (e_l - r_l)]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.flow.loss import predict
from unimm.flow.solver import Velocity
from unimm.tables import pick

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda squares: squares.flatten(1).mean(1),
    "sum": lambda squares: squares.flatten(1).sum(1),
}
"""How squares [B ...] become an error [B]: "mean", as all published code, so that beta absorbs the number of
latents; "sum", as the derivation."""


class PreferenceLoss(NamedTuple):
    """The loss and what tells how it falls, each [B].

    Watch `winner_error`: the loss can fall while both errors rise. The mean of `margin < 0` is the
    implicit accuracy.
    """

    loss: Tensor
    margin: Tensor  # (e_w - r_w) - (e_l - r_l); negative where the better picture is preferred
    winner_error: Tensor
    loser_error: Tensor
    winner_reference: Tensor
    loser_reference: Tensor


def preference_loss(
    velocity: Velocity,
    reference: Velocity,
    winner: Tensor,
    loser: Tensor,
    noise: Tensor,
    t: Tensor,
    beta: float,
    reduction: str = "mean",
) -> PreferenceLoss:
    """Return the loss of pairs; the reference is evaluated without gradients.

    Args:
        velocity: the network that learns, `f(x_t, t) -> v`, under the prompt of each pair.
        reference: the network it started from, such as the same one with its adapter off.
        winner, loser: [B ...] latents, constants of the loss.
        noise: [B ...] standard normal, shared by both.
        t: [B] in [0, 1], shared by both.
        beta: as in the formula above, with its half, on errors reduced by `reduction`. Salesforce's
            5000 is 5000 here; diffusers' 2500 has no half and is 5000; Flow-GRPO's 100 is 100. Constant in
            t, as published results want it: the strict beta (1 - t)^2 is exploited.
        reduction: "mean" or "sum", a row of REDUCTIONS.

    Raises:
        ValueError: shapes differ, t leaves [0, 1], beta is not positive, or an unknown reduction.
    """
    reduce = pick("reduction", reduction, REDUCTIONS)

    def error(network: Velocity, x: Tensor) -> Tensor:
        predicted, target = predict(network, x, noise, t)
        return reduce((predicted - target).square())

    with torch.no_grad():
        references = error(reference, winner), error(reference, loser)
    return dpo_loss(error(velocity, winner), error(velocity, loser), *references, beta)


def dpo_loss(
    winner_error: Tensor,
    loser_error: Tensor,
    winner_reference: Tensor,
    loser_reference: Tensor,
    beta: float,
) -> PreferenceLoss:
    """Return the loss of errors [B]; beta and its half as in `preference_loss`."""
    if not beta > 0:
        raise ValueError(f"beta: expected a positive number, got {beta}")
    margin = (winner_error - winner_reference) - (loser_error - loser_reference)
    loss = -F.logsigmoid(-beta / 2 * margin)
    return PreferenceLoss(loss, margin, winner_error, loser_error, winner_reference, loser_reference)
