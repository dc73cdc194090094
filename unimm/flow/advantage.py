"""Learning from rewards on the forward process: Advantage Weighted Matching (Xue et al. 2025, arXiv
2509.25050).

Pictures that the network drew itself are noised as in training; the flow loss of each counts by its advantage
over others of the same prompt. Any sampler may draw them, no likelihood along its steps is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unimm.flow.loss import predict
from unimm.flow.solver import Velocity
from unimm.shapes import expect

LEAST_SPREAD = 1e-6
"""Standard deviation of rewards below which a group tells nothing: rounding would be blown up."""


class AdvantageLoss(NamedTuple):
    """The loss and its parts, each [B]."""

    loss: Tensor  # advantage x error + kl x divergence
    error: Tensor  # |v* - v|^2, as in `loss.velocity_loss`
    divergence: Tensor  # |v - v_ref|^2, which the KL between the two processes is made of


def advantages(rewards: Tensor, limit: float = 5.0) -> Tensor:
    """Return how far each reward is above its group's mean, in standard deviations, [P n] of [P n].

    Args:
        rewards: one row per prompt, n pictures in each; finite.
        limit: advantages are cut to [-limit, limit].

    Returns:
        rows of mean 0 and standard deviation 1 before the cut; 0 where all rewards of a prompt are the same.
    """
    expect("rewards", rewards, "P n")
    centred = rewards.float() - rewards.float().mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    told = spread > LEAST_SPREAD
    return torch.where(told, centred / spread.clamp_min(LEAST_SPREAD), 0.0).clamp(-limit, limit)


def advantage_loss(
    velocity: Velocity,
    reference: Velocity,
    x: Tensor,
    noise: Tensor,
    t: Tensor,
    advantage: Tensor,
    kl: float,
) -> AdvantageLoss:
    """Return the loss of pictures that this very network drew; the reference is asked without gradients.

    Pictures are used for one update, so that the ratio of the newer to the older policy is 1 and nothing is
    clipped.

    Args:
        velocity: the network that learns, under the prompt of each picture.
        reference: the one it started from.
        x: [B ...] latents that were drawn; constants.
        noise: [B ...] standard normal.
        t: [B] in [0, 1].
        advantage: [B], positive where a picture is to become likelier.
        kl: weight of the divergence, 0 or more.

    Raises:
        ValueError: shapes differ, t leaves [0, 1], or kl is negative.
    """
    if kl < 0:
        raise ValueError(f"kl: expected 0 or more, got {kl}")
    predicted, target = predict(velocity, x, noise, t)
    with torch.no_grad():
        kept, _ = predict(reference, x, noise, t)
    error = (predicted - target).square().flatten(1).mean(1)
    divergence = (predicted - kept).square().flatten(1).mean(1)
    expect("advantage", advantage, "B", B=len(error))
    return AdvantageLoss(advantage * error + kl * divergence, error, divergence)
