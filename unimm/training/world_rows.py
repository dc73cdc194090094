"""Rows that the joint and the instruct stages read: which, and those of the built-in world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor, nn

from unimm.data.cache import LatentCache
from unimm.data.cache_kinds import KINDS
from unimm.data.order import shuffled
from unimm.data.talk import TALKS, Talk
from unimm.data.talks import SourceSettings
from unimm.data.world import Pictures, PictureStore
from unimm.latents.pixels import resize_pixels
from unimm.model.profile import profile_named
from unimm.model.unimm import UniMM
from unimm.parts import Batch
from unimm.request import positive
from unimm.tables import expect_known
from unimm.text.chat import Rendered, collate, label_marks, opened, render
from unimm.text.tokenizer import special_ids
from unimm.training.latents import cached_latents
from unimm.training.recipe import TrainRecipe


@dataclass(frozen=True)
class TalkData:
    """Which rows are read: of the built-in world (`pictures`), or of data sets (`sources`).

    Of the world it is a repeating pattern of kinds, over pictures whose latents are cached.
    """

    pictures: Pictures | None = None
    latents: str | None = None  # folder of the latent cache, filled on first use; null (sources): none
    pattern: tuple[str, ...] = ("draw", "draw", "look")  # of the world
    row_length: int = 72  # most positions of a row; the world's are padded to it: code is compiled once
    context_noise: float = 0.3  # largest noise on seen latents, which may later be drawn ones
    sources: tuple[SourceSettings, ...] = ()
    packing: bool = False  # several samples of a source to a row
    too_long: Literal["cut", "skip"] = "cut"  # samples longer than a row lose last exchanges, or are skipped
    latents_kind: str = "bf16"  # of `cache_kinds.KINDS`: how the latents are kept

    def __post_init__(self):
        if not self.pattern:
            raise ValueError(f"data.pattern: expected one or more of {', '.join(TALKS)}, got none")
        for kind in self.pattern:
            expect_known("data.pattern", kind, TALKS)
        if (self.pictures is None) == (not self.sources):
            got = "neither" if self.pictures is None else "both"
            raise ValueError(f"data: expected either pictures (of the world) or sources, got {got}")
        if self.pictures is not None and self.latents is None:
            raise ValueError("data.latents: expected the folder of a latent cache with pictures, got null")
        if self.pictures is not None and self.packing:
            raise ValueError("data.packing: expected false with pictures, whose rows are full, got true")
        expect_known("data.latents_kind", self.latents_kind, KINDS)
        if self.row_length < 1:
            raise ValueError(f"data.row_length: expected 1 or more, got {self.row_length}")
        if not self.context_noise >= 0:
            raise ValueError(f"data.context_noise: expected 0 or more, got {self.context_noise}")


def check_flow(noise_draws: int, flow_weight: float) -> None:
    """Refuse numbers with which there is no flow loss, or one that grows.

    Raises:
        ValueError: no draws, or a weight below 0.
    """
    positive("noise_draws", noise_draws)
    if not flow_weight >= 0:
        raise ValueError(f"flow_weight: expected 0 or more, got {flow_weight}")


class Rows(Protocol):
    """What gives a stage its batches."""

    data: TalkData

    def batch(self, start: int, count: int) -> Any:
        """Return samples start ... start + count - 1; a pure function."""

    def ready(self, prepared: Any) -> Batch:
        """Return a batch with all latents in it, where the model is."""

    def counts(self) -> Mapping[str, float]:
        """Return what only grows, for the metrics."""


class TalkRows:
    """Rows of talk with their latents: a pure function of the position."""

    def __init__(
        self,
        data: TalkData,
        seed: int,
        store: PictureStore,
        seen: LatentCache,
        drawn: LatentCache,
        model: UniMM,
        labels_marks: bool = False,
    ):
        """Take the settings, the pictures, their latents as they are seen and as they are drawn.

        `labels_marks` says whether newlines and turn marks of all speakers are trained on.
        """
        self.data, self.seed, self.store, self.seen, self.drawn = data, seed, store, seen, drawn
        self.tokenizer, self.system = model.tokenizer, model.config.settings.chat.system
        self.labels_marks, self.num_slots = labels_marks, model.config.settings.num_queries

    def batch(self, start: int, count: int) -> Batch:
        """Return rows start ... start + count - 1."""
        own = shuffled(self.store.count, self.seed, start, count)
        other = shuffled(self.store.count, self.seed + 1, start, count)
        talks = [self._talk(start + at, int(own[at]), int(other[at])) for at in range(count)]
        rows = [self._row(talk) for talk in talks]
        seen, drawn = [], []
        for row, talk, pair in zip(rows, talks, zip(own, other, strict=True), strict=True):
            for slots, which in zip(row.runs, talk.pictures, strict=True):
                (drawn if slots.target else seen).append(pair[which])
        pad = special_ids(self.tokenizer).pad
        batch = collate(rows, pad, self.seen[seen] if seen else None, self.drawn[drawn] if drawn else None)
        return self._padded(batch, rows)

    def ready(self, prepared: Batch) -> Batch:
        """Return the batch: its latents come from the cache."""
        return prepared

    def counts(self) -> Mapping[str, float]:
        """Return nothing: no scene is broken."""
        return {}

    def _row(self, talk: Talk) -> Rendered:
        row = render(opened(talk.turns, self.system), self.tokenizer, self.num_slots)
        return label_marks(row, self.tokenizer) if self.labels_marks else row

    def _talk(self, position: int, own: int, other: int) -> Talk:
        rng = np.random.default_rng([self.seed, position])
        kind = self.data.pattern[position % len(self.data.pattern)]
        return TALKS[kind](self.store.scene(own), self.store.scene(other), rng)

    def _padded(self, batch: Batch, rows: list[Rendered]) -> Batch:
        missing = self.data.row_length - batch.input_ids.shape[1]
        if missing < 0:
            longest = max(len(row.ids) for row in rows)
            raise ValueError(
                f"data.row_length: expected {longest} or more for these rows, got {self.data.row_length}"
            )
        pad = nn.functional.pad
        return replace(
            batch,
            input_ids=pad(batch.input_ids, (0, missing), value=special_ids(self.tokenizer).pad),
            labels=pad(batch.labels, (0, missing), value=-100),
            attention_mask=pad(batch.attention_mask, (0, missing), value=False),
        )


class Recipe(Protocol):
    """What a stage's recipe says of its rows."""

    train: TrainRecipe
    data: TalkData
    profile: str


def world_rows(recipe: Recipe, model: UniMM) -> TalkRows:
    """Return the world's rows; the model makes their latents, to see and to draw."""
    labels_marks = profile_named(recipe.profile).labels_marks
    store, settings = recipe.data.pictures.open(), model.eval().config.settings
    folder, encoder = Path(recipe.data.latents), settings.encoder

    def seen(pixels: Tensor) -> Tensor:
        return model.encode_image(resize_pixels(pixels, encoder.image_size))

    def drawn(pixels: Tensor) -> Tensor:
        return model.encode_target(resize_pixels(pixels, settings.target_size))

    shape = (encoder.num_tokens, encoder.width)
    if settings.sees_drawn:
        both = cached_latents(str(folder), store, model.encoder, shape, drawn, recipe.data.latents_kind)
        return TalkRows(recipe.data, recipe.train.seed, store, both, both, model, labels_marks)
    shown = cached_latents(str(folder / "seen"), store, model.encoder, shape, seen, recipe.data.latents_kind)
    shape, made_by = (settings.num_latents, settings.dit.channels), model.drawn or model.encoder
    targets = cached_latents(str(folder / "drawn"), store, made_by, shape, drawn, recipe.data.latents_kind)
    return TalkRows(recipe.data, recipe.train.seed, store, shown, targets, model, labels_marks)
