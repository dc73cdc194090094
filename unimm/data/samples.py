"""What every reader gives: a sample in the normal form, from a place in a source; and what is no sample.

A source is a list of shards, each a list of rows. `source[shard, row]` reads one sample, in any order, and
decodes no picture: `unimm.data.pictures.open_picture` does that, and raises the same `BrokenSample`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from unimm.parts import Image, Text, Turn
from unimm.tables import pick

KINDS = ("schema", "text", "markers", "path", "missing", "picture", "damage")
"""Why a sample is broken: keys or types of another schema; words that are no text; image markers that
disagree with the images; a path or name that leads outside; a file that is not there; a file that is no
usable picture; bytes that are cut short or cannot be parsed."""


class BrokenSample(ValueError):
    """A row that holds no usable sample, and why. Who trains counts it, lists it and takes another.

    Args:
        key: of the sample, `Sample.key`.
        reason: what was expected and found, in one line.
        kind: one of KINDS.
    """

    def __init__(self, key: str, reason: str, kind: str = "schema"):
        assert kind in KINDS, kind
        super().__init__(key, reason, kind)
        self.key, self.reason, self.kind = key, reason, kind

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


@dataclass(frozen=True)
class Sample:
    """One sample: what is said, and the pictures that are seen or are to be drawn.

    The picture of an `Image` part is a path, the bytes of a file, or a `pictures.ImageRef`: nothing is
    decoded.
    """

    turns: tuple[Turn, ...]
    key: str
    """Names the row to a person: file, and the row's place or own name in it."""
    wordings: Mapping[str, tuple[Turn, ...]] = field(default_factory=dict)
    """Where the source has captions: the turns with each, by the caption's name, in the source's order;
    `turns` is the first. Empty where it has conversations."""
    label: int | None = None
    """The class, where the source has classes."""

    def picked(self, number: int) -> Sample:
        """Return the sample with one of its wordings: number, 0 or more, modulo how many there are."""
        if not self.wordings:
            return self
        return replace(self, turns=list(self.wordings.values())[number % len(self.wordings)])

    def worded(self, name: str) -> Sample:
        """Return the sample with the wording of this name.

        Raises:
            ValueError: none has it.
        """
        return replace(self, turns=pick(f"{self.key}: wording", name, self.wordings))

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, in reading order."""
        return tuple(part for part in self._parts() if isinstance(part, Image))

    @property
    def texts(self) -> tuple[str, ...]:
        """The words, in reading order."""
        return tuple(part.text for part in self._parts() if isinstance(part, Text))

    def _parts(self) -> Iterator[Text | Image]:
        return (part for turn in self.turns for part in turn.parts)


@runtime_checkable
class Source(Protocol):
    """Samples in files that stay as they are. Cheap to open, safe to send to another process."""

    name: str

    @property
    def shards(self) -> tuple[int, ...]:
        """Rows of each shard; a shard is what is read best from front to back."""

    @property
    def random_access(self) -> bool:
        """Whether any row costs the same; if not, rows are to be asked for in their stored order."""

    @property
    def shards_at_once(self) -> int | None:
        """Among how many shards to shuffle if nobody says: few where a row costs a whole one; None: all."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with whole files, a line each; their rows that can be read are among the shards."""

    def __len__(self) -> int:
        """The sum of the shards' rows, broken ones included."""

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Return the sample at (shard, row).

        Raises:
            BrokenSample: the row holds none.
            IndexError: no such place.
        """

    def key(self, place: tuple[int, int]) -> str:
        """Return the key of the sample at (shard, row), without reading it."""


def expect_place(shards: tuple[int, ...], place: tuple[int, int]) -> None:
    """Refuse a place that a source does not have; negative numbers are none.

    Raises:
        IndexError: no such shard or row.
    """
    shard, row = place
    if not 0 <= shard < len(shards):
        raise IndexError(f"shard: expected 0 to {len(shards) - 1}, got {shard}")
    if not 0 <= row < shards[shard]:
        raise IndexError(f"row: expected 0 to {shards[shard] - 1} in shard {shard}, got {row}")
