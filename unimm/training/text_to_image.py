"""The text-to-image stage: an MM-DiT learns to draw captions told by CLIP and T5 (Esser et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from unimm.data.buckets import Bucket, BucketBatches, aspect_buckets
from unimm.data.order import shuffled
from unimm.data.world import Pictures, on_wall
from unimm.generator import GeneratorSettings, TextGenerator
from unimm.generator.by_text import repeated_conditions
from unimm.generator.losses import FlowLosses
from unimm.text.published import load_sd3_text
from unimm.text.sd3 import DROP_PROBABILITY, Tokens, drop_encoders
from unimm.training.finite import refuse_nonfinite
from unimm.training.generating import (
    body_groups,
    compile_body,
    drawn,
    encoded,
    export,
    fitted,
    kept_latents,
    means,
    prepare,
    repeated,
)
from unimm.training.pictures import save_grid
from unimm.training.plan.drawing import by_text
from unimm.training.plan.estimate import operations
from unimm.training.plan.workload import Workload
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.vocabulary import world_words
from unimm.weights.folder import load_strictly
from unimm.world.language import caption

_SAMPLE_PROMPTS = (
    "a photo of a red circle", "a star", "a blue square and a yellow heart", "two green stars",
    "three white hearts", "a black cross left of a pink moon", "a triangle above a square",
    "four orange squares on a slate background",
)  # fmt: skip


@dataclass(frozen=True)
class Text:
    """Where the text encoders come from: published ones, frozen; or fresh ones that learn along."""

    folder: str | None = None  # of a published pipeline: text_encoder, tokenizer, ...; null: fresh towers
    words: str | None = None  # for fresh towers: folder of their tokenizers, learnt from the world if missing
    lr_scale: float = 0.0  # of the towers, times the learning rate; 0 freezes them
    drop_probability: float = DROP_PROBABILITY  # of each encoder on its own

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.words is None):
            raise ValueError(
                "text: expected either folder (published encoders) or words (tokenizers for fresh ones), "
                f"got folder={self.folder} and words={self.words}"
            )
        if not 0 <= self.drop_probability <= 1:
            raise ValueError(f"drop_probability: expected a number in [0, 1], got {self.drop_probability}")


@dataclass(frozen=True)
class Aspects:
    """Aspect-ratio buckets: pictures of about one area and several shapes; a batch holds one shape."""

    max_ratio: float = 1.0  # of long to short side; 1 leaves the square alone
    multiple: int = 16  # of pixels per side: the latent space's stride times the body's patch


@dataclass(frozen=True)
class TextRecipe:
    """What the text-to-image stage is run with."""

    train: TrainRecipe
    generator: GeneratorSettings
    pictures: Pictures
    text: Text
    codec_run: str | None = None  # for latents of kind rae: run of the decoder stage, or a model
    vae: str | None = None  # for latents of a VAE: its folder
    latents: str | None = None  # folder of a latent cache, filled on first use; null encodes every batch
    latents_kind: str = "bf16"  # of `cache_kinds.KINDS`: how it keeps them
    aspects: Aspects = field(default_factory=Aspects)
    noise_draws: int = 1  # noise and time draws per picture; the towers run once for all
    matrices: Literal["adamw", "muon"] = "adamw"  # optimiser of the weights inside; DeepSpeed takes adamw
    allow_narrow: bool = False  # train a body narrower than its latents all the same
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        if self.noise_draws < 1:
            raise ValueError(f"noise_draws: expected 1 or more, got {self.noise_draws}")
        if self.aspects.max_ratio > 1 and self.latents is not None:
            raise ValueError(
                f"latents: expected null with aspects.max_ratio {self.aspects.max_ratio}, as a cache holds "
                f"one size, got {self.latents}"
            )


def text_groups(recipe: TextRecipe, modules: Mapping[str, nn.Module]) -> dict[str, Group]:
    """Return who learns: the body, and the text towers where they have a rate."""
    model, scale = modules["generator"], recipe.text.lr_scale
    groups = body_groups(model, recipe.matrices)
    if model.settings.text.towers:
        groups["generator.text"] = Group(lr_scale=scale) if scale else FROZEN
    return groups


def text_workload(recipe: TextRecipe) -> Workload:
    """Return what a recipe's micro-batch computes."""
    return by_text(recipe, lambda modules: text_groups(recipe, modules))


class TextStage:
    """Pictures and captions in, flow loss out; each encoder of the text dropped on its own."""

    def __init__(self, recipe: TextRecipe):
        self.recipe = recipe
        self.store = recipe.pictures.open()
        model = TextGenerator(recipe.generator)
        model.dit.gradient_checkpointing = recipe.gradient_checkpointing
        prepare(model, recipe.codec_run, recipe.vae, recipe.allow_narrow)
        self._fill_text(model)
        self.model, self.modules = model, {"generator": model}
        self.groups = text_groups(recipe, self.modules)
        self.latents = None
        if recipe.latents is not None:
            self.latents = kept_latents(model, self.store, recipe.latents, recipe.latents_kind)
        self.buckets = self._buckets()
        self._shaped: dict[int, BucketBatches] = {}

    def _fill_text(self, model: TextGenerator) -> None:
        recipe, config = self.recipe.text, model.settings.text
        if recipe.folder is None:
            model.text.words = world_words(recipe.words, config)
            return
        t5_tokens = config.t5.tokens if config.t5 is not None else 77
        found = load_sd3_text(recipe.folder, config.towers, places=config, t5_tokens=t5_tokens)
        if found.config != config:
            raise ValueError(
                f"generator.text: expected the sizes in {recipe.folder}, {found.config}, got {config}"
            )
        load_strictly(model.text, found.state_dict(), recipe.folder)
        model.text.words = found.words

    def _buckets(self) -> list[Bucket]:
        aspects, size = self.recipe.aspects, self.model.settings.space.image_size
        if aspects.max_ratio == 1:
            return []
        return aspect_buckets(size, aspects.multiple, aspects.max_ratio)

    def batch(self, start: int, count: int) -> dict[str, Any]:
        bucket, indices = self._pictures(start, count)
        scenes = [self.store.scene(int(index)) for index in indices]
        rngs = [np.random.default_rng([self.recipe.train.seed, start + at]) for at in range(count)]
        captions = [caption(scene, rng) for scene, rng in zip(scenes, rngs, strict=True)]
        batch: dict[str, Any] = {"tokens": self.model.text.tokenize(captions)}
        if self.latents is not None:
            return {**batch, "latents": self.latents[indices]}
        pixels = self.store.pixels_of(indices)
        if bucket is None:
            return {**batch, "pixels": fitted(self.model, pixels)}
        return {**batch, "pixels": on_wall(pixels, *bucket)}

    def _pictures(self, start: int, count: int) -> tuple[Bucket | None, np.ndarray]:
        """Return the shape and the pictures of a batch: a function of its position."""
        seed = self.recipe.train.seed
        if not self.buckets:
            return None, shuffled(self.store.count, seed, start, count)
        if count not in self._shaped:
            # The world's pictures have no shape of their own: each is given one, once and for all.
            assigned = np.random.default_rng([seed, 0]).integers(len(self.buckets), size=self.store.count)
            self._shaped[count] = BucketBatches(assigned, count, seed, "repeat")
        bucket, indices = self._shaped[count].batch(start // count)
        return self.buckets[bucket], indices

    def step(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        begin = generator.get_state()
        losses = self._losses(batch, generator)
        each = losses.total
        loss = each.mean()

        def again() -> None:
            generator.set_state(begin)
            self._losses(batch, generator)

        given = {name: x for name, x in batch.items() if isinstance(x, Tensor)}
        refuse_nonfinite(loss, losses.t, each, given, self.modules, again)
        terms = means({"flow": losses.flow, "direction": losses.direction})
        return {"loss": loss, **terms, "cut_prompts": cut_share(batch["tokens"], loss.device)}

    def _losses(self, batch: dict[str, Any], generator: torch.Generator) -> FlowLosses:
        recipe, tokens, size = self.recipe, batch["tokens"], None
        if "latents" in batch:
            x = drawn(self.model, batch["latents"], generator)
        else:
            x = encoded(self.model, batch["pixels"], generator)
            size = self._size(batch["pixels"], x)
        gone = drop_encoders(tokens.count, recipe.text.drop_probability, generator=generator).to(x.device)
        draws = recipe.noise_draws
        told = repeated_conditions(self.model.told(tokens, gone), draws)
        return self.model.flow_losses(repeated(x, draws), told, generator=generator, size=size)

    def _size(self, pixels: Tensor, latents: Tensor) -> tuple[int, int] | None:
        """Return rows and columns of latents that are not the settings' square."""
        if not self.buckets:
            return None
        height, width = pixels.shape[-2:]
        stride = round((height * width / latents.shape[1]) ** 0.5)
        return height // stride, width // stride

    def amounts(self, batch: dict[str, Any]) -> Mapping[str, float]:
        return {"images": batch["tokens"].count}

    def flops(self, batch: dict[str, Any]) -> float:
        return self._operations * batch["tokens"].count

    @cached_property
    def _operations(self) -> int:
        return operations(text_workload(self.recipe), 1)

    def compile(self) -> None:
        compile_body(self.model)

    def sample(self, folder: Path, step: int) -> None:
        """Draw a few prompts, four times each."""
        prompts = list(_SAMPLE_PROMPTS)
        drawn = self.model.generate(prompts, num_images_per_prompt=4, seed=0, output_type="pt")
        save_grid(drawn.images, folder, step, columns=8)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the (averaged) weights of a checkpoint as a generator's folder."""
        export(self.model, newest, folder)


def cut_share(tokens: Tokens, device: torch.device) -> Tensor:
    """Return the share of prompts that some tower could not read to their end."""
    cut = [any(each[row] for each in tokens.cut.values()) for row in range(tokens.count)]
    return torch.tensor(sum(cut) / max(1, tokens.count), device=device)
