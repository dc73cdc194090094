"""REPA in training (Yu et al. 2025): hidden states are drawn towards what frozen encoders see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unimm.alignment import PUBLISHED_WEIGHT, Projectors
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.pixels import resize_pixels
from unimm.latents.targets import Target, TargetConfig, load_target, target_config
from unimm.training.codec import trained
from unimm.weights.folder import load_strictly


@dataclass(frozen=True)
class OwnTarget:
    """An encoder that our encoder stage trained."""

    run: str  # its run folder
    encoder: EncoderConfig

    @property
    def config(self) -> EncoderConfig:
        """Sizes."""
        return self.encoder

    def unfilled(self) -> nn.Module:
        """Return it with random weights."""
        return build_encoder(self.encoder)

    def load(self) -> nn.Module:
        """Return it with its weights."""
        target = self.unfilled()
        load_strictly(target, trained(self.run, "encoder"), "encoder")
        return target


@dataclass(frozen=True)
class PublishedTarget:
    """A published encoder, from the file it came in."""

    name: str  # of TARGET_SIZES, such as dinov2-b
    file: str
    image_size: int | None = None  # pixels per side that it sees; null: as published for pictures of 256

    def __post_init__(self) -> None:
        _ = self.config

    @property
    def config(self) -> TargetConfig:
        """Sizes."""
        published = target_config(self.name)
        return published if self.image_size is None else replace(published, image_size=self.image_size)

    def unfilled(self) -> nn.Module:
        """Return it with random weights."""
        return Target(self.config)

    def load(self) -> nn.Module:
        """Return it with its weights."""
        return load_target(self.file, self.config)


@dataclass(frozen=True)
class Alignment:
    """What hidden states are aligned with, and how; several targets weigh the same."""

    block: int  # after which the hidden states are taken, the first is 1; 8 of 28 in REPA
    own: tuple[OwnTarget, ...] = ()
    published: tuple[PublishedTarget, ...] = ()
    weight: float = PUBLISHED_WEIGHT
    hidden: int = 2048  # width of the projectors

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("alignment: expected at least one target under own or published, got none")

    @property
    def targets(self) -> dict[str, OwnTarget | PublishedTarget]:
        """Every target by its place in the recipe: first our own, then published ones."""
        own = {f"own[{at}]": target for at, target in enumerate(self.own)}
        return own | {f"published[{at}]": target for at, target in enumerate(self.published)}

    def check(self, body: Any) -> None:
        """Refuse a body (its config) that has no such block, or not the targets' tokens.

        Raises:
            ValueError: one of these, by its name in the recipe.
        """
        if not 1 <= self.block <= body.depth:
            raise ValueError(f"alignment.block: expected 1 to {body.depth}, got {self.block}")
        for name, target in self.targets.items():
            grid, patch = target.config.grid, target.config.patch_size
            if grid != body.side:
                raise ValueError(
                    f"alignment.{name}: expected {body.side} x {body.side} tokens, as the body has, as they "
                    f"are compared place by place; got {grid} x {grid}; image_size {body.side * patch} would "
                    f"fit its patches of {patch} pixels"
                )

    def projectors(self, width: int) -> Projectors:
        """Return fresh projectors from hidden states of a width to every target."""
        return Projectors(width, [target.config.width for target in self.targets.values()], self.hidden)

    def load(self) -> Targets:
        """Return the targets with their weights."""
        return Targets(target.load() for target in self.targets.values())

    def unfilled(self) -> Targets:
        """Return the targets with random weights."""
        return Targets(target.unfilled() for target in self.targets.values())


class Targets(nn.ModuleList):
    """The frozen encoders of an alignment."""

    def __init__(self, encoders: Iterable[nn.Module]):
        super().__init__(encoders)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return tokens [B M width of the target] of every target, of pixels [B 3 S S] in [0, 1]."""
        return [target(_as_seen(target, pixels)) for target in self]


def _as_seen(target: nn.Module, pixels: Tensor) -> Tensor:
    if isinstance(target, Target) and target.resizes:  # in the way that was published
        return pixels
    return resize_pixels(pixels, target.config.image_size)
