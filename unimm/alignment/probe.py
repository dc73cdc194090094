"""Linear probing: how well a linear layer tells classes by frozen features.

REPA (Yu et al. 2025) probes hidden states of its generators, with no class given to the network (the null
label) and tokens averaged: batch norm without weights, then one linear layer, otherwise by the protocol
of the masked autoencoder (He et al. 2022, table 10). Here on saved features, so without fresh crops every
epoch: numbers are a little lower than the published ones and compare with each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.shapes import expect
from unimm.tables import expect_known


class LinearProbe(nn.Module):
    """Batch norm without weights, then a linear layer."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.head = nn.Linear(width, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B K] of features [B W]."""
        return self.head(self.norm(features))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set the weights to N(0, 0.01), cut at two standard deviations, and the bias to 0."""
        nn.init.trunc_normal_(self.head.weight, std=0.01, a=-0.02, b=0.02, generator=generator)
        nn.init.zeros_(self.head.bias)


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is trained. Weight decay is 0."""

    optimiser: str = "adam"
    """A row of OPTIMISERS."""
    learning_rate: float = 1e-3
    """The highest; reached after the warm-up, then a cosine to 0."""
    epochs: int = 90
    warmup_epochs: int = 10
    """The rate rises linearly from 0."""
    batch_size: int = 16384
    """At most; an epoch is cut into batches of equal size, so that none is too small for its norm."""

    def __post_init__(self) -> None:
        expect_known("probe.optimiser", self.optimiser, OPTIMISERS)
        for name in ("learning_rate", "epochs", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"probe.{name}: expected a positive number, got {getattr(self, name)}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"probe.warmup_epochs: expected 0 to {self.epochs - 1}, fewer than the epochs, "
                f"got {self.warmup_epochs}"
            )

    def rate(self, epoch: float) -> float:
        """Return the learning rate at an epoch, a fraction for steps within it (Loshchilov & Hutter 2017)."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def fit_probe(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    settings: ProbeSettings | None = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> LinearProbe:
    """Return a probe trained on features, in evaluation mode.

    Args:
        features: [N W] of the training set, tokens averaged; they stay where they are.
        labels: [N] integers in 0 .. num_classes - 1.
        num_classes: K.
        settings: default REPA's; `MAE` is the masked autoencoder's.
        generator: of the weights and the order; on the CPU.
        device: where the probe is trained.

    Raises:
        ValueError: shapes or labels that do not fit, fewer than 2 samples, features that are not finite.
    """
    settings = settings or REPA
    expect_labelled(features, labels, num_classes)
    probe = LinearProbe(features.shape[1], num_classes)
    probe.reset_parameters(generator)
    probe.to(device).train()
    optimiser = OPTIMISERS[settings.optimiser](probe.parameters())
    for epoch, batch in _batches(len(features), settings, generator):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate(epoch)
        x, y = features[batch].to(device).float(), labels[batch].to(device)
        optimiser.zero_grad()
        F.cross_entropy(probe(x), y).backward()
        optimiser.step()
    return probe.eval()


@torch.no_grad()
def accuracy(probe: LinearProbe, features: Tensor, labels: Tensor, batch_size: int = 16384) -> float:
    """Return the share of samples [N W] whose highest logit is that of their label [N].

    Raises:
        ValueError: as `fit_probe`.
    """
    expect_labelled(features, labels, probe.head.out_features, width=probe.head.in_features)
    device = probe.head.weight.device
    right = sum(
        int((probe(x.to(device).float()).argmax(1).to(y.device) == y).sum())
        for x, y in zip(features.split(batch_size), labels.split(batch_size), strict=True)
    )
    return right / len(labels)


class Lars(torch.optim.Optimizer):
    """Momentum SGD whose step on a matrix is in proportion to its norm (You et al. 2017), as MAE probes."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.0, momentum: float = 0.9, trust: float = 1e-3
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take a step; vectors, such as biases, are not scaled."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad
                if p.dim() > 1:
                    norms = p.norm(), update.norm()
                    scale = group["trust"] * norms[0] / norms[1]
                    update = update * torch.where((norms[0] > 0) & (norms[1] > 0), scale, 1.0)
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.mul_(group["momentum"]).add_(update)
                p.sub_(group["lr"] * momentum)


OPTIMISERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "lars": Lars,
}

REPA = ProbeSettings()
"""Adam at 1e-3, 90 epochs, batches of 16384."""

MAE = ProbeSettings(optimiser="lars", learning_rate=6.4)
"""LARS at 0.1 for every 256 samples of a batch."""


def _batches(
    count: int, settings: ProbeSettings, generator: torch.Generator
) -> Iterator[tuple[float, Tensor]]:
    """Yield (epoch as a fraction, indices) for every step of training."""
    steps = math.ceil(count / settings.batch_size)
    for epoch in range(settings.epochs):
        order = torch.randperm(count, generator=generator)
        for i, batch in enumerate(order.tensor_split(steps)):
            yield epoch + i / steps, batch


def expect_labelled(
    features: Tensor, labels: Tensor, num_classes: int, *, width: int | None = None, least: int = 2
) -> None:
    """Refuse features [N W] and labels [N] that no probe of K classes can be made of.

    Raises:
        ValueError: other shapes, fewer samples than `least`, features that are not finite, other labels.
    """
    sizes = expect("features", features, "N W", **({} if width is None else {"W": width}))
    expect("labels", labels, "N", N=sizes["N"])
    if sizes["N"] < least:
        raise ValueError(f"features: expected at least {least} samples, got {sizes['N']}")
    if not features.isfinite().all():
        raise ValueError("features: expected finite numbers, got NaN or infinity")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels: expected integers from 0 to {num_classes - 1}, got {labels.dtype} from "
            f"{labels.min().item()} to {labels.max().item()}"
        )
