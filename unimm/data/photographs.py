"""Pictures alone, of any source: what stands at a position, cut to a square, broken ones replaced.

For autoencoders, which need no words. A pure function of seed and position, as `talks` is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unimm.data.crops import centre_crop
from unimm.data.pictures import open_picture
from unimm.data.samples import BrokenSample, Sample
from unimm.data.standins import Skipped, Spot, first_usable
from unimm.data.talks import SourceSettings, mixed


@dataclass(frozen=True)
class PhotographSettings:
    """Sources of pictures, and how they are cut."""

    sources: tuple[SourceSettings, ...]
    pixels: int = 256  # per side
    short_side: int = 384  # resized to, bicubic, before a random square is cut (RAE's decoder)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("data.sources: expected one or more, got none")
        if not 1 <= self.pixels <= self.short_side:
            raise ValueError(
                f"data.short_side: expected pixels = {self.pixels} or more, got {self.short_side}"
            )


class Photographs:
    """Pictures of mixed sources by position. Of a sample it is the one to be drawn, or else the first.

    Args:
        settings: sources and sizes.
        seed: of their order and of where they are cut.
        listed: is told of samples that were skipped.
    """

    def __init__(self, settings: PhotographSettings, seed: int, listed: Callable[[Iterable[Skipped]], None]):
        self.settings, self.seed, self.listed = settings, seed, listed
        self.sources = [source.open() for source in settings.sources]
        self.mixture = mixed(self.sources, settings.sources, seed)
        self._paths = tuple(given.path for given in settings.sources)
        self._turns = [None if source.random_access else threading.Lock() for source in self.sources]

    @property
    def pixels(self) -> int:
        """Per side."""
        return self.settings.pixels

    def at(self, start: int, count: int) -> Tensor:
        """Return pixels [B 3 S S] in [0, 1] of positions start ... start + count - 1, cut at random.

        Raises:
            ValueError: none of `standins.MAX_REPLACED` samples after a position can be used.
        """
        return _stacked([self._cut(self._picture(p), p) for p in range(start, start + count)])

    def first(self, count: int, start: int = 0) -> Tensor:
        """Return pixels [B 3 S S] of the same positions as `at`, the middle of each (ADM's crop)."""
        found = [np.asarray(self._picture(p)) for p in range(start, start + count)]
        return _stacked([centre_crop(picture, self.pixels) for picture in found])

    def _cut(self, picture: Image.Image, position: int) -> np.ndarray:
        short, size = self.settings.short_side, self.settings.pixels
        scale = short / min(picture.size)
        sides = [max(short, round(side * scale)) for side in picture.size]
        picture = picture.resize(tuple(sides), Image.Resampling.BICUBIC)
        rng = np.random.default_rng([self.seed, position])
        left, top = (int(rng.integers(side - size + 1)) for side in sides)
        return np.asarray(picture.crop((left, top, left + size, top + size)))

    def _picture(self, position: int) -> Image.Image:
        found, skipped = first_usable(
            position, lambda number: Spot(*self.mixture.after(position, number)), self._open, self._paths
        )
        if skipped:
            self.listed(skipped)
        return found

    def _open(self, spot: Spot) -> Image.Image:
        source, turn = self.sources[spot.source], self._turns[spot.source]
        if turn is None:
            sample = source[spot.shard, spot.row]
        else:
            with turn:  # one reader, from front to back
                sample = source[spot.shard, spot.row]
        return open_picture(_wanted(sample), sample.key)


def _wanted(sample: Sample):
    images = sorted(sample.images, key=lambda image: not image.target)
    if not images:
        raise BrokenSample(sample.key, "expected a picture, found none", "missing")
    return images[0].image


def _stacked(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
