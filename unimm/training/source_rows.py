"""Rows of data sets for the joint and the instruct stages: read by position, pictures encoded in the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unimm.data.collate import Looking, TalkBatch, batch_of_rows
from unimm.data.skipped import SkipList
from unimm.data.talks import Reading, Talks
from unimm.model.profile import profile_named
from unimm.model.unimm import UniMM
from unimm.parts import Batch
from unimm.text.tokenizer import special_ids
from unimm.training.source_latents import kept_pictures
from unimm.training.world_rows import Recipe, TalkData


class SourceRows:
    """Rows of mixed sources: a pure function of the position."""

    def __init__(self, data: TalkData, talks: Talks, model: UniMM, run: Path):
        """Take the settings, the rows, whose latents the model makes, and the run's folder."""
        self.data, self.talks, self.model = data, talks, model
        self.skipped = SkipList(run)
        self._pad = special_ids(model.tokenizer).pad
        self._counts = {"skipped_samples": 0, "cut_samples": 0}

    def batch(self, start: int, count: int) -> TalkBatch:
        """Return rows start ... start + count - 1; what was skipped is listed in the run's folder."""
        rows = self.talks.rows(start, count)
        self.skipped.add(gone for row in rows for gone in row.skipped)
        return batch_of_rows(rows, self._pad, self.data.row_length, self.data.packing)

    def ready(self, prepared: TalkBatch) -> Batch:
        """Return the batch with the latents of its pictures, and count what was skipped and cut in it.

        Both ways into the encoder are always gone: a rank whose batch lacks pictures would leave those
        waiting for it that share its weights.
        """
        self._counts["skipped_samples"] += prepared.facts["skipped"]
        self._counts["cut_samples"] += prepared.facts["cut"]
        batch, settings = prepared.batch, self.model.config.settings
        seen = self._encoded(self.model.encode_image, prepared.context_pixels, settings.encoder.image_size)
        drawn = self._encoded(self.model.encode_target, prepared.target_pixels, settings.target_size)
        if prepared.context_pixels is not None:
            batch = replace(batch, context_latents=seen)
        if prepared.target_pixels is not None:
            batch = replace(batch, target_latents=drawn)
        return batch

    def counts(self) -> Mapping[str, float]:
        """Return how many samples were skipped and cut."""
        return self._counts

    @torch.no_grad()
    def _encoded(self, encode, pixels: Tensor | None, size: int) -> Tensor | None:
        if pixels is None and self.data.latents is not None:
            return None  # the cache knows all latents
        if pixels is None:
            pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=self.model.device)
        return encode(pixels.float() / 255).float()


def source_rows(recipe: Recipe, model: UniMM) -> SourceRows:
    """Return the rows of a recipe's sources.

    Raises:
        ValueError: a source that cannot be opened, a packed row longer than the model's context, ...
    """
    data, settings = recipe.data, model.eval().config.settings
    if data.row_length > settings.llm.context:
        raise ValueError(
            f"data.row_length: expected at most {settings.llm.context} (llm.context), got {data.row_length}"
        )
    if model.tokenizer is None:
        raise ValueError("tokenizer: expected the model to have one, got none")
    sources = [source.open() for source in data.sources]
    reading = Reading(
        model.tokenizer,
        settings.num_queries,
        data.row_length,
        settings.chat.system,
        profile_named(recipe.profile).labels_marks,
        data.too_long,
    )
    looking = Looking(settings.encoder.image_size, settings.target_size)
    fetch = looking if data.latents is None else kept_pictures(data, sources, looking, model)
    talks = Talks(sources, data.sources, recipe.train.seed, reading, fetch)
    return SourceRows(data, talks, model, Path(recipe.train.output))
