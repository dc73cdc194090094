"""The discriminator in training: what the pictures' maker hears of it, and its own updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from unimm.latents.encoders.tower import Encoder
from unimm.training.adversary.augment import AugmentConfig, diff_augment
from unimm.training.adversary.discriminator import Discriminator, DiscriminatorConfig
from unimm.training.adversary.eyes import MIN_DIGITS, dino_discriminator, encoder_discriminator
from unimm.training.adversary.losses import generator_loss, hinge_loss, vanilla_loss
from unimm.training.adversary.optimizer import OwnAdamW
from unimm.training.recipe import OptimRecipe

LOSSES = {"hinge": hinge_loss, "vanilla": vanilla_loss}
"""What the discriminator minimises, by name."""


@dataclass(frozen=True)
class AdversaryRecipe:
    """The discriminator: its eyes, its optimiser, when it starts. The defaults are RAE's (arXiv 2510.11690).

    Starts are in steps, or in epochs where the losses' `epoch_samples` is given.
    """

    optim: OptimRecipe  # of the discriminator; its schedule is counted in its own updates
    discriminator_from: float  # the first step, counted from 0, after which it is trained
    adversarial_from: float  # the other network hears of it from here on
    backbone: Literal["dino", "tiny"] = "dino"  # tiny: the built-in encoder; its losses are called @tiny
    weights: str | None = None  # DINO's file
    sha256: str | None = None  # the first digits, 8 or more
    sizes: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)  # of DINO and the heads
    kernel: int = 3  # tokens that a head over tiny spans
    weight: float = 0.75  # times the adaptive weight
    loss: Literal["hinge", "vanilla"] = "hinge"
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(
                f"adversary.weight: expected a number above 0, got {self.weight}; or leave it out"
            )
        if not 0 <= self.discriminator_from <= self.adversarial_from:
            raise ValueError(
                "adversary.adversarial_from: expected discriminator_from "
                f"= {self.discriminator_from} (0 or more) or later, got {self.adversarial_from}: "
                "an untrained discriminator has nothing to say"
            )
        if self.backbone == "tiny" and self.sizes != DiscriminatorConfig():
            raise ValueError(
                "adversary.sizes: expected none for backbone tiny, whose encoder has its own, got "
                f"{self.sizes}; the span of its heads is adversary.kernel"
            )
        if self.backbone == "dino" and self.kernel != 3:
            raise ValueError(
                f"adversary.kernel: expected none for backbone dino, got {self.kernel}; "
                "the span of its heads is adversary.sizes.kernel"
            )
        given = {"weights": self.weights, "sha256": self.sha256}
        for name, value in given.items():
            if (value is not None) != (self.backbone == "dino"):
                wanted = (
                    "DINO's file and the first digits of its sha256, or backbone: tiny"
                    if self.backbone == "dino"
                    else "null for backbone tiny, which is built in"
                )
                raise ValueError(f"adversary.{name}: expected {wanted}, got {value}")
        if self.sha256 is not None and not _is_digest(self.sha256):
            raise ValueError(
                f"adversary.sha256: expected {MIN_DIGITS} or more hexadecimal digits, got {self.sha256!r}"
            )

    @property
    def name(self) -> str:
        """What its eyes are called in the names of its losses: "disc@tiny", "disc@dino-p8"."""
        return "disc@tiny" if self.backbone == "tiny" else f"disc@dino-p{self.sizes.patch_size}"

    def build(self, tiny: Callable[[], Encoder]) -> Discriminator:
        """Return the discriminator, its heads fresh; `tiny` gives the built-in encoder if it is needed."""
        if self.backbone == "tiny":
            return encoder_discriminator(tiny(), self.kernel)
        return dino_discriminator(self.weights, self.sha256, self.sizes)


def _is_digest(text: str) -> bool:
    return len(text) >= MIN_DIGITS and not set(text.lower()) - set("0123456789abcdef")


class Critic(nn.Module):
    """A discriminator that trains itself, and is frozen to everybody else.

    Args:
        recipe: see AdversaryRecipe.
        discriminator: whose heads train.
        num_updates: how many there will be.
    """

    def __init__(self, recipe: AdversaryRecipe, discriminator: Discriminator, num_updates: int):
        super().__init__()
        self.recipe, self.discriminator = recipe, discriminator.requires_grad_(False).eval()
        self.optimizer = OwnAdamW(list(discriminator.heads.parameters()), recipe.optim, num_updates)

    def heard(self, shown: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the maker of pictures minimises, a scalar: minus the mean logit of shown [B 3 Hp Wp].

        Pixels are nominally in [0, 1]. The spectral norms stand still meanwhile.
        """
        return generator_loss(self.discriminator(diff_augment(shown, self.recipe.augment, generator)))

    def update(self, pairs: Iterable[tuple[Tensor, Tensor, torch.Generator]]) -> dict[str, Tensor]:
        """Train the heads once on (real, fresh reconstructions, draws), one triple per micro-batch.

        Reconstructions are clamped and rounded to 8 bits, as pictures in files are, so that no rounding tells
        them apart. Gradients are averaged over micro-batches and ranks.

        Args:
            pairs: pixels [B 3 Hp Wp] in [0, 1], and reconstructions of them.

        Returns:
            Its loss, the share of logits on the right side of 0, the gradient's norm, the rate.
        """
        parameters, sums, count = self.optimizer.parameters_of, {}, 0
        totals = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        rate = self.recipe.optim.lr * self.optimizer.factor()
        with self.training_heads():
            for real, fake, generator in pairs:
                # One after the other: the order of the draws.
                fake, real = (
                    diff_augment(x, self.recipe.augment, generator) for x in (quantised(fake), real)
                )
                losses = self.judged(real, fake)
                gradients = torch.autograd.grad(losses["loss"], parameters)
                torch._foreach_add_(totals, gradients)
                sums = {name: sums.get(name, 0.0) + x.detach() for name, x in losses.items()}
                count += 1
        torch._foreach_div_(totals, count * _summed_over_ranks(totals))
        norm = self.optimizer.step(totals)
        means = {name: total / count for name, total in sums.items()} | {"norm": norm}
        name = self.recipe.name
        return {f"{name}_{key}": x for key, x in means.items()} | {f"{name}_lr": norm.new_tensor(rate)}

    def judged(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return the discriminator's loss, and the share of logits on the right side of 0.

        Args:
            real: augmented pixels [B 3 Hp Wp].
            fake: augmented reconstructions, without gradients.
        """
        # Two passes, as published: the norms' vectors are refined by each.
        fake_logits, real_logits = self.discriminator(fake), self.discriminator(real)
        right = (real_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        return {"loss": LOSSES[self.recipe.loss](real_logits, fake_logits), "right": right / 2}

    @contextmanager
    def training_heads(self) -> Iterator[None]:
        """Inside, the heads train."""
        heads = self.discriminator.heads
        heads.train().requires_grad_(True)
        try:
            yield
        finally:
            heads.eval().requires_grad_(False)


def quantised(pixels: Tensor) -> Tensor:
    """Return pixels clamped to [0, 1] and rounded to 256 levels, without gradients."""
    return (pixels.detach().float().clamp(0, 1) * 255).round() / 255


def _summed_over_ranks(tensors: list[Tensor]) -> int:
    """Add every rank's tensors, in place; return how many ranks there are."""
    if not torch.distributed.is_initialized():
        return 1
    for tensor in tensors:
        torch.distributed.all_reduce(tensor)
    return torch.distributed.get_world_size()
