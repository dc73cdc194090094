"""The encoder stage: SigLIP 2's recipe in small (Tschannen et al. 2025, arXiv 2502.14786).

Three losses on one latent grid: a sigmoid contrastive loss on captions, captioning, and a dense term, here
masked prediction: some patches are hidden and the whole picture is asked for. The dense term is what keeps
outlines; a purely contrastive encoder of this size throws them away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimm.data.order import shuffled
from unimm.data.world import Pictures
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.pixels import resize_pixels
from unimm.llm.qwen import LLMConfig
from unimm.text.tokenizer import encode, load_tokenizer, special_ids
from unimm.training.codec import place_of
from unimm.training.encoder_heads import Heads, hide_patches, sigmoid_loss
from unimm.training.pictures import save_grid
from unimm.training.plan.estimate import operations
from unimm.training.plan.pictures import seeing
from unimm.training.plan.workload import Workload
from unimm.training.recipe import Group, TrainRecipe
from unimm.world.language import describe, phrase

_DENSITY = 0.9  # of captions: nearly everything is told, so that few pictures of a batch share a caption


@dataclass(frozen=True)
class EncoderLosses:
    """Weights of the three terms."""

    pixels: float = 10.0  # L1 in [0, 1], about 0.03 when learnt
    contrastive: float = 0.1
    caption: float = 0.25  # nats per token


@dataclass(frozen=True)
class EncoderRecipe:
    """What the encoder stage is run with."""

    train: TrainRecipe
    pictures: Pictures
    tokenizer: str  # its folder, or a model's, or "tiny"
    encoder: EncoderConfig
    text: LLMConfig  # the tower that reads captions; thrown away afterwards
    painter: DecoderConfig  # the light decoder of the dense term; thrown away afterwards
    losses: EncoderLosses = EncoderLosses()
    mask_probability: float = 0.5  # of a picture being masked at all
    largest_mask: float = 0.6  # fraction of patches hidden, drawn uniformly up to here
    latent_noise: float = (
        0.5  # largest noise on latents that the painter sees: robust latents are easier to generate
    )


ENCODER_GROUPS = {
    "encoder": Group(optimizer="muon"),
    "encoder.embeddings": Group(),
    "heads": Group(optimizer="muon"),
    "heads.text.model.embed_tokens": Group(),
}
"""Who learns: all of it."""


def encoder_workload(recipe: EncoderRecipe) -> Workload:
    """Return what a recipe's micro-batch computes."""
    return seeing(recipe, lambda modules: ENCODER_GROUPS)


class EncoderStage:
    """Contrast, captioning and masked prediction on pictures of the world."""

    def __init__(self, recipe: EncoderRecipe):
        self.recipe = recipe
        self.store = recipe.pictures.open()
        self.tokenizer = load_tokenizer(place_of(recipe.tokenizer))
        self.modules = {"encoder": build_encoder(recipe.encoder), "heads": Heads(recipe)}
        self.groups = ENCODER_GROUPS

    def batch(self, start: int, count: int) -> dict[str, Tensor]:
        indices = shuffled(self.store.count, self.recipe.train.seed, start, count)
        captions = [self._caption(start + offset, int(index)) for offset, index in enumerate(indices)]
        ids, lengths = self._tokens(captions)
        _, group = np.unique(captions, return_inverse=True)
        pixels = torch.from_numpy(self.store.pictures[indices])
        return {"pixels": pixels, "ids": ids, "lengths": lengths, "group": torch.from_numpy(group)}

    def amounts(self, batch: dict[str, Tensor]) -> Mapping[str, float]:
        return {"images": len(batch["pixels"]), "tokens": int(batch["lengths"].sum())}

    def flops(self, batch: dict[str, Tensor]) -> float:
        return self._operations * len(batch["pixels"])

    @cached_property
    def _operations(self) -> int:
        return operations(encoder_workload(self.recipe), 1)

    def _caption(self, position: int, index: int) -> str:
        rng = np.random.default_rng([self.recipe.train.seed, position])
        return phrase(describe(self.store.scene(index), rng, _DENSITY), rng)

    def _tokens(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        marks = special_ids(self.tokenizer)
        rows = [[*encode(self.tokenizer, text), marks.turn_end] for text in captions]
        lengths = torch.tensor([len(row) for row in rows])
        # One width for every batch: compiled code is made once.
        ids = torch.full((len(rows), self.recipe.text.context), marks.pad)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
        return ids, lengths

    def step(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        encoder, heads, recipe = self.modules["encoder"], self.modules["heads"], self.recipe
        pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 255
        small = resize_pixels(pixels, recipe.encoder.image_size)
        latents = encoder(hide_patches(small, recipe.encoder.patch_size, self._hidden(len(small), generator)))
        amount = torch.rand(len(latents), 1, 1, generator=generator) * recipe.latent_noise
        noisy = latents + amount * torch.randn(latents.shape, generator=generator)
        painted = (heads.painter(noisy) - pixels).abs().mean()
        same = batch["group"][:, None] == batch["group"][None]
        contrast = sigmoid_loss(
            heads.image_embedding(latents),
            heads.text_embedding(batch["ids"], batch["lengths"]),
            same,
            heads.log_scale,
            heads.bias,
        )
        caption = heads.caption_loss(latents, batch["ids"], batch["lengths"])
        weights = recipe.losses
        loss = weights.pixels * painted + weights.contrastive * contrast + weights.caption * caption
        return {"loss": loss, "pixels": painted, "contrastive": contrast, "caption": caption}

    def _hidden(self, count: int, generator: torch.Generator) -> Tensor:
        masked = torch.rand(count, 1, generator=generator) < self.recipe.mask_probability
        ratio = torch.rand(count, 1, generator=generator) * self.recipe.largest_mask
        tokens = self.recipe.encoder.num_tokens
        return (torch.rand(count, tokens, generator=generator) < ratio) & masked

    def compile(self) -> None:
        self.modules["encoder"].compile()
        self.modules["heads"].painter.compile()
        self.modules["heads"].text.model.compile()

    def sample(self, folder: Path, step: int) -> None:
        """Draw the first pictures of the store beside what the painter makes of their latents."""
        pixels = self.store.pixels_of(range(32))
        latents = self.modules["encoder"].encode(resize_pixels(pixels, self.recipe.encoder.image_size))
        painted = self.modules["heads"].painter.decode(latents)
        save_grid(torch.stack([pixels, painted], 1).flatten(0, 1), folder, step, columns=16)


def build(recipe: EncoderRecipe) -> Any:
    """Return the stage of a recipe."""
    return EncoderStage(recipe)
