"""Where the stages that reconstruct pictures get them: the world's store, or sources of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor

from unimm.data.order import shuffled
from unimm.data.photographs import Photographs, PhotographSettings
from unimm.data.skipped import SkipList
from unimm.data.world import Pictures, PictureStore
from unimm.training.recipe import TrainRecipe


class PictureStream(Protocol):
    """Square pictures by position."""

    pixels: int
    """Per side."""

    def at(self, start: int, count: int) -> Tensor:
        """Return pixels [B 3 S S] in [0, 1] at positions of the shuffled, endless stream."""

    def first(self, count: int, start: int = 0) -> Tensor:
        """Return pixels [B 3 S S] of so many pictures for looking at and measuring, always the same."""


class StoredPictures:
    """The world's pictures."""

    def __init__(self, store: PictureStore, seed: int):
        self.store, self.seed, self.pixels = store, seed, store.pixels

    def at(self, start: int, count: int) -> Tensor:
        return self.store.pixels_of(shuffled(self.store.count, self.seed, start, count))

    def first(self, count: int, start: int = 0) -> Tensor:
        if start + count > self.store.count:
            raise ValueError(
                f"pictures: expected at most the store's {self.store.count} to measure, got {start + count}"
            )
        return self.store.pixels_of(range(start, start + count))


def check_one(pictures: Pictures | None, data: PhotographSettings | None) -> None:
    """Refuse a recipe that names no pictures or both kinds.

    Raises:
        ValueError: so it is.
    """
    if (pictures is None) == (data is None):
        found = "neither" if pictures is None else "both"
        raise ValueError(f"pictures: expected either the world's pictures or data.sources, got {found}")


def open_stream(
    pictures: Pictures | None, data: PhotographSettings | None, train: TrainRecipe
) -> PictureStream:
    """Return the pictures that a recipe names; broken ones are listed in the run's skipped.jsonl."""
    if pictures is not None:
        return StoredPictures(pictures.open(), train.seed)
    return Photographs(data, train.seed, SkipList(Path(train.output)).add)
