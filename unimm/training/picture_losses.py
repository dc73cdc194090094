"""What reconstructions of pictures are trained on: L1, a perceptual distance, Gram matrices, an adversary.

RAE's first stage (Zheng et al. 2025, arXiv 2510.11690) and Scale-RAE's (arXiv 2601.16208); the KL
autoencoder that they compare with is trained on the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from unimm.latents.encoders.maps import block_maps, expect_maps
from unimm.latents.encoders.tower import Encoder
from unimm.perceptual import FeatureDistance, gram_distance, load_published_lpips
from unimm.training.adversary.critic import AdversaryRecipe, Critic
from unimm.training.adversary.discriminator import Discriminator
from unimm.training.adversary.losses import adaptive_weight
from unimm.training.recipe import FROZEN, Group, TrainRecipe

LPIPS = {"lpips_vgg": "vgg", "lpips_alex": "alex"}
"""The published distances by the names of their metrics, and the networks they look through."""


@dataclass(frozen=True)
class PerceptualRecipe:
    """A distance between pictures as a network sees them; only the published weights make it LPIPS."""

    weight: float = 0.05  # beside L1's 1; 1 of LPIPS in both papers
    gram: float = 0.0  # weight of Gram matrices of the same features; Scale-RAE: 100
    backbone: Literal["encoder", "tiny", "lpips_vgg", "lpips_alex"] = "encoder"
    weights: str | None = None  # torchvision's file of that network, for lpips; its hash is checked
    start: float = 0.0  # in steps, or epochs where epoch_samples is given

    def __post_init__(self) -> None:
        for name in ("weight", "gram", "start"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"perceptual.{name}: expected 0 or more, got {getattr(self, name)}")
        if (self.weights is not None) != (self.backbone in LPIPS):
            wanted = (
                "torchvision's file of that network, which is not fetched; or backbone: tiny"
                if self.backbone in LPIPS
                else f"null for backbone {self.backbone!r}"
            )
            raise ValueError(f"perceptual.weights: expected {wanted}, got {self.weights}")

    @property
    def key(self) -> str:
        """What the distance is called in metrics."""
        return self.backbone if self.backbone in LPIPS else f"perceptual@{self.backbone}"

    @property
    def gram_key(self) -> str:
        """What the term of Gram matrices is called in metrics."""
        return f"gram@{LPIPS.get(self.backbone, self.backbone)}"


@dataclass(frozen=True)
class PictureLosses:
    """The terms beside L1, whose weight is 1."""

    perceptual: PerceptualRecipe = field(default_factory=PerceptualRecipe)
    adversary: AdversaryRecipe | None = None
    epoch_samples: int | None = None  # samples per epoch, for starts in epochs; ImageNet: 1281167

    def __post_init__(self) -> None:
        if self.epoch_samples is not None and self.epoch_samples < 1:
            raise ValueError(f"epoch_samples: expected a positive number, got {self.epoch_samples}")

    def step_of(self, start: float, train: TrainRecipe) -> int:
        """Return the first step (updates before it) of a start; an epoch drops what fills no batch."""
        per_epoch = 1 if self.epoch_samples is None else self.epoch_samples // train.batch_size
        return math.ceil(start * per_epoch)

    def check(self, train: TrainRecipe) -> None:
        """Refuse epochs without a step, starts that are never reached, engines that take parameters apart.

        Raises:
            ValueError: with both numbers.
        """
        if self.epoch_samples is not None and self.epoch_samples < train.batch_size:
            raise ValueError(
                f"losses.epoch_samples: expected train.batch_size = {train.batch_size} or more, got "
                f"{self.epoch_samples}: an epoch without a step would start everything at once"
            )
        starts = {"perceptual.start": self.perceptual.start}
        if self.adversary is not None:
            starts["adversary.discriminator_from"] = self.adversary.discriminator_from
            starts["adversary.adversarial_from"] = self.adversary.adversarial_from
            if train.deepspeed is not None and train.deepspeed.zero_stage == 3:
                raise ValueError(
                    "adversary: expected deepspeed.zero_stage 0, 1 or 2, got 3, under which the last layer, "
                    "whose gradients set the adaptive weight, is in pieces"
                )
        for name, start in starts.items():
            step = self.step_of(start, train)
            if step >= train.num_steps:
                unit = "" if self.epoch_samples is None else f" ({start:g} epochs)"
                raise ValueError(
                    f"losses.{name}: expected a start before the last step, "
                    f"train.num_steps = {train.num_steps}, got step {step}{unit}"
                )


class Networks(NamedTuple):
    """Where the networks come from that the losses look through."""

    lpips: Callable[[PerceptualRecipe], nn.Module]
    discriminator: Callable[[AdversaryRecipe, Callable[[], Encoder]], Discriminator]
    """Given what gives the built-in encoder."""


def _published_lpips(recipe: PerceptualRecipe) -> nn.Module:
    return load_published_lpips(recipe.weights, LPIPS[recipe.backbone])


PUBLISHED = Networks(_published_lpips, AdversaryRecipe.build)
"""From the files that a recipe names, whose hashes are checked."""


class PictureCritic(nn.Module):
    """The losses with what they remember: frozen networks, the discriminator and its optimiser, the time.

    A module of its stage, so that every checkpoint holds it; frozen to the engine.

    Args:
        recipe: weights and starts.
        train: steps and batch size.
        encoder: of the stage, for backbone "encoder"; None where it has none.
        tiny: gives the built-in encoder where a backbone asks for it; called once at most.
        networks: where the other networks come from.
    """

    def __init__(
        self,
        recipe: PictureLosses,
        train: TrainRecipe,
        encoder: Encoder | None,
        tiny: Callable[[], Encoder],
        networks: Networks = PUBLISHED,
    ):
        super().__init__()
        recipe.check(train)
        self.recipe = recipe
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        kept: list[Encoder] = []

        def built_in() -> Encoder:
            if not kept:
                kept.append(tiny().eval().requires_grad_(False))
            return kept[0]

        self.distance = self._distance(encoder, built_in, networks)
        self.critic, adversary = None, recipe.adversary
        start = partial(recipe.step_of, train=train)
        self.perceptual_from = start(recipe.perceptual.start)
        if adversary is not None:
            self.discriminator_from = start(adversary.discriminator_from)
            self.adversarial_from = start(adversary.adversarial_from)
            num_updates = train.num_steps - self.discriminator_from
            discriminator = networks.discriminator(adversary, built_in)
            self.critic = Critic(adversary, discriminator, num_updates)
        self.eyes = kept[0] if kept else None  # registered: moved and saved with the rest

    def _distance(
        self, encoder: Encoder | None, tiny: Callable[[], Encoder], networks: Networks
    ) -> nn.Module:
        perceptual = self.recipe.perceptual
        if perceptual.backbone in LPIPS:
            return networks.lpips(perceptual)
        seen_by = tiny() if perceptual.backbone == "tiny" else encoder
        if seen_by is None:
            raise ValueError("perceptual.backbone: expected 'tiny' or lpips, as this stage has no encoder")
        expect_maps(seen_by)
        return FeatureDistance(partial(block_maps, seen_by))

    def forward(
        self, shown: Tensor, pixels: Tensor, last_weight: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return scalar losses, "loss" their sum, of reconstructions of pictures, both [B 3 Hp Wp].

        Args:
            shown: nominally in [0, 1], not clamped.
            pixels: the pictures, in [0, 1].
            last_weight: of the last layer that made `shown`; gradients there set the adaptive weight.
            generator: of the augmentation.
        """
        done = int(self.updates)
        losses = {"pixels": (shown - pixels).abs().mean()}
        if done >= self.perceptual_from:
            losses |= self.perceived(shown, pixels)
        total = self.weighed(losses)
        if self.critic is not None and done >= self.adversarial_from:
            heard = self.critic.heard(shown, generator)
            scale = adaptive_weight(total, heard, last_weight)
            name = self.critic.recipe.name
            losses |= {f"{name}_heard": heard, f"{name}_scale": scale}
            total = total + self.critic.recipe.weight * scale * heard
        return {"loss": total, **losses}

    def perceived(self, shown: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """Return the terms that look through a network, of reconstructions of pictures, both [B 3 Hp Wp]."""
        perceptual = self.recipe.perceptual
        if not (perceptual.weight or perceptual.gram):
            return {}
        ours, theirs = self.distance.maps(shown), self._maps(pixels)
        losses = {perceptual.key: self.distance.between(ours, theirs).mean()}
        if perceptual.gram:
            losses[perceptual.gram_key] = gram_distance(ours, theirs).mean()
        return losses

    def weighed(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms, less the adversary's."""
        perceptual = self.recipe.perceptual
        weights = {"pixels": 1.0, perceptual.key: perceptual.weight, perceptual.gram_key: perceptual.gram}
        return sum(weights[name] * term for name, term in losses.items())

    @torch.no_grad()
    def _maps(self, pixels: Tensor):
        return self.distance.maps(pixels)

    def after_update(self, fresh: Iterable[tuple[Tensor, Tensor, torch.Generator]]) -> dict[str, Tensor]:
        """Count the update that was just done, and train the discriminator if its time has come.

        Args:
            fresh: pictures, their reconstructions by the network as it now is, and draws, one triple for each
                micro-batch; looked at only when they are needed.
        """
        done = int(self.updates)
        self.updates += 1
        if self.critic is None or done < self.discriminator_from:
            return {}
        return self.critic.update(fresh)

    def begun(self) -> dict[str, bool]:
        """Return whether the time has come, by part as a plan names them (`training.plan.pictures`)."""
        done = int(self.updates)
        found = {"losses": done >= self.perceptual_from}
        if self.critic is not None:
            found["adversary"] = done >= self.adversarial_from
            found["discriminator"] = done >= self.discriminator_from
        return found


def losses_groups(losses: PictureCritic) -> dict[str, Group]:
    """Return how the losses are held: frozen, where they have parameters at all."""
    return {"losses": FROZEN} if any(True for _ in losses.parameters()) else {}


def begun_operations(rooms: Mapping[str, int], losses: PictureCritic) -> int:
    """Return the operations of those rooms of a plan whose time has come."""
    begun = losses.begun()
    return sum(flops for room, flops in rooms.items() if begun.get(room, True))
