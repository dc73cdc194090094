"""What the discriminator and the decoder each minimise, and how loud the decoder hears the discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_WEIGHT = 1e4
"""The adaptive weight is cut here (Esser et al. 2021, VQGAN)."""


def hinge_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the discriminator's hinge loss, a scalar; logits of any shape, high for real pictures."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def vanilla_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the discriminator's logistic loss (Goodfellow et al. 2014), halved as the hinge is."""
    return 0.5 * (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the decoder's loss, minus the mean logit of its pictures; the same for both losses above."""
    return -fake_logits.mean()


def adaptive_weight(reconstruction_loss: Tensor, adversarial_loss: Tensor, last_weight: Tensor) -> Tensor:
    """Return the weight that makes both losses pull equally hard at the decoder's last layer.

    |d reconstruction| / (|d adversarial| + 1e-6), between 0 and MAX_WEIGHT, detached (Esser et al. 2021,
    equation 7). Both graphs are kept for the backward pass that follows.

    Args:
        reconstruction_loss: a scalar, pixels and perceptual distance together.
        adversarial_loss: a scalar, `generator_loss`.
        last_weight: the weight of the decoder's last linear layer; both losses depend on it.
    """
    with torch.autocast(last_weight.device.type, enabled=False):
        [pull] = torch.autograd.grad(reconstruction_loss, last_weight, retain_graph=True)
        [push] = torch.autograd.grad(adversarial_loss, last_weight, retain_graph=True)
        weight = pull.float().norm() / (push.float().norm() + 1e-6)
    return weight.clamp(0, MAX_WEIGHT).detach()
