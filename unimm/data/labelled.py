"""Pictures with classes from folders, by number: what the class-conditional stage reads of ImageNet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimm.data.cache import LatentCache
from unimm.data.crops import centre_crop
from unimm.data.pictures import open_picture
from unimm.data.readers import open_source
from unimm.data.samples import BrokenSample, Sample
from unimm.data.standins import MAX_REPLACED, Skipped, Spot, first_usable

HELD = 512
"""Cut pictures in memory: a batch, so that none is decoded twice in it."""


@dataclass(frozen=True)
class LabelledSettings:
    """A data set with classes, as a recipe names it."""

    path: str  # a folder with a folder of pictures for each class
    format: str = "imagenet"  # of `readers.READERS`
    pixels: int = 256  # per side of the squares that are cut (ADM's crop)
    options: dict[str, Any] = field(default_factory=dict)  # of the reader

    def open(self) -> LabelledPictures:
        """Open it; raises as `LabelledPictures`."""
        return LabelledPictures(self)


class LabelledPictures:
    """Pictures 0 ... count - 1 of a data set with classes, cut to squares; those that are broken are NaN."""

    def __init__(self, settings: LabelledSettings):
        """Open them.

        Raises:
            FileNotFoundError: nothing is there.
            ValueError: no known format, a stream, or samples without a class.
        """
        self.settings, self.pixels = settings, settings.pixels
        self.source = open_source(settings.path, settings.format, **settings.options)
        if not self.source.random_access:
            raise ValueError(f"data.path: expected files, got a stream, {settings.path}")
        self._ends = np.cumsum(np.array(self.source.shards, dtype=np.int64))
        self.count = int(self._ends[-1])
        self.num_classes = 1 + max(self._label_of_shard(shard) for shard in range(len(self.source.shards)))
        facts = json.dumps([settings.path, settings.format, settings.pixels, list(self.source.shards)])
        self.seed = hashlib.sha256(facts.encode()).hexdigest()[:16]
        """What a latent cache calls them."""
        self.scenes = "any"
        self._cut = lru_cache(maxsize=HELD)(self._cut_anew)

    def _label_of_shard(self, shard: int) -> int:
        for row in range(min(self.source.shards[shard], MAX_REPLACED)):
            try:
                return _label(self.source[shard, row])
            except BrokenSample:
                continue
        return 0

    def sample(self, index: int) -> Sample:
        """Return a sample; raises BrokenSample."""
        return self.source[self._place(index)]

    def _place(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard] - self.source.shards[shard])

    def label(self, index: int) -> int:
        """Return the class of a picture that can be used."""
        return _label(self.sample(index))

    def pixels_of(self, indices: Iterable[int]) -> Tensor:
        """Return pictures as pixels [B 3 S S] in [0, 1]; those that cannot be opened are NaN."""
        return torch.stack([self._pixels(int(index)) for index in indices])

    def _pixels(self, index: int) -> Tensor:
        try:
            return torch.from_numpy(self._cut(index)).permute(2, 0, 1).float() / 255
        except BrokenSample:
            return torch.full((3, self.pixels, self.pixels), torch.nan)

    def _cut_anew(self, index: int) -> np.ndarray:
        sample = self.sample(index)
        picture = open_picture(sample.images[0].image, sample.key)
        return centre_crop(np.asarray(picture), self.pixels)

    def usable(
        self, index: int, position: int, kept: LatentCache | None = None
    ) -> tuple[int, Sequence[Skipped]]:
        """Return the first index from `index` on whose picture can be opened, and those before it.

        Args:
            index: of a picture.
            position: in the stream, for the list of what was skipped.
            kept: latents of these pictures; then those tell, and nothing is opened.

        Raises:
            ValueError: MAX_REPLACED in a row cannot.
        """
        return first_usable(
            position,
            lambda number: Spot(0, *self._place((index + number) % self.count)),
            lambda spot: self._whole(self._index(spot), kept),
            (self.settings.path,),
            "data.path",
        )

    def _index(self, spot: Spot) -> int:
        return int(self._ends[spot.shard]) - self.source.shards[spot.shard] + spot.row

    def _whole(self, index: int, kept: LatentCache | None) -> int:
        """Return the index of a picture that can be used; raises BrokenSample."""
        self.label(index)
        if kept is None:
            self._cut(index)
        elif not torch.isfinite(kept[[index]]).all():
            raise BrokenSample(
                self.sample(index).key, "could not be encoded when latents were kept", "picture"
            )
        return index


def _label(sample: Sample) -> int:
    if sample.label is None:
        raise ValueError(f"data.format: expected samples with a class, {sample.key} has none")
    return sample.label
