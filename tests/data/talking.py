"""Sources in memory and pictures on disk, for tests of what reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from tests.model.small import small_tokenizer
from unimm.data.collate import Looking
from unimm.data.samples import BrokenSample, Sample
from unimm.data.talks import Reading, SourceSettings, Talks
from unimm.parts import Image, Text, Turn


@dataclass
class Listed:
    """A source whose samples are made when they are asked for."""

    name: str
    shards: tuple[int, ...]
    broken: frozenset = field(default_factory=frozenset)  # of (shard, row)
    random_access: bool = True
    shards_at_once: int | None = None
    faults: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()
    num_turns: int = 1

    def __len__(self) -> int:
        return sum(self.shards)

    def __getitem__(self, place) -> Sample:
        key = f"{self.name}/{place[0]}/{place[1]}"
        if place in self.broken:
            raise BrokenSample(key, "expected words, got none", "text")
        said = []
        for number in range(self.num_turns):
            said += [
                Turn("user", (Text(f"what {number} of {place[1]}?"),)),
                Turn("assistant", (Text("a star"),)),
            ]
        if self.pictures:
            picture = self.pictures[place[1] % len(self.pictures)]
            said[0] = Turn("user", (Image(picture), *said[0].parts))
        return Sample(tuple(said), key)


def reading(row_length: int = 128, **changes) -> Reading:
    return Reading(small_tokenizer(), 9, row_length, **changes)


def talks(*sources, weights=None, settings=None, seed: int = 3, fetch=None, **changes) -> Talks:
    settings = settings or [SourceSettings("x", weight=w) for w in weights or [1.0] * len(sources)]
    return Talks(sources, settings, seed, reading(**changes), fetch or Looking(12, 12))


def save_picture(path: Path, seed: int = 0, size=(20, 14)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(path)
    return path
