"""Rows of real conversations: what stands at a position of the stream, checked, rendered and looked at.

Everything is a pure function of the position: the sample, which of its captions, what is cut off and what
stands in for a sample that is broken. So ranks and workers share positions out as they like, and a run goes
on anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.data.captions import check_shares, with_caption
from unimm.data.mixture import Mixture, ShardOrder
from unimm.data.order import epochs_of
from unimm.data.readers import open_source
from unimm.data.samples import Sample, Source
from unimm.data.standins import Skipped, Spot, Unusable, first_usable
from unimm.parts import IGNORED, Image, Turn
from unimm.text.chat import Rendered, label_marks, opened, render


@dataclass(frozen=True)
class SourceSettings:
    """One source, as a recipe names it."""

    path: str  # a file, a folder, or hf://owner/name
    format: str | None = None  # of `readers.READERS`; null finds out
    weight: float = 1.0  # share of the samples, in any unit
    images: tuple[str, ...] = ()  # folders, or tars, that the rows' paths are in; none: the reader's own
    captions: dict[str, float] = field(default_factory=dict)  # shares by name; none: the first of each
    split: str | None = None  # of files that are named by splits
    shards_at_once: int | None = (
        None  # shuffle among so many shards only; null: the format's own (all, or few)
    )
    options: dict[str, Any] = field(default_factory=dict)  # of the reader: template, task, unmarked, ...

    def __post_init__(self) -> None:
        check_shares(self.captions)

    def open(self) -> Source:
        """Open it; raises as `open_source`."""
        images = {"images": self.images} if self.images else {}
        return open_source(self.path, self.format, self.split, **images, **self.options)


@dataclass(frozen=True)
class InOrder:
    """The order of a source that can only be read from front to back."""

    rows: tuple[int, ...]

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return shard, row and epoch of positions [K] in this source's own endless stream."""
        epochs, places = epochs_of(positions, sum(self.rows))
        ends = np.cumsum(self.rows)
        shards = np.searchsorted(ends, places, side="right")
        return shards, places - (ends[shards] - np.array(self.rows)[shards]), epochs


def mixed(sources: Sequence[Source], settings: Sequence[SourceSettings], seed: int) -> Mixture:
    """Return the sources mixed by their weights, each in an order of its own."""
    orders = [
        _order_of(source, given, seed + number)
        for number, (source, given) in enumerate(zip(sources, settings, strict=True))
    ]
    return Mixture(orders, [given.weight for given in settings], seed)


def _order_of(source: Source, given: SourceSettings, seed: int) -> ShardOrder | InOrder:
    rows = tuple(source.shards)
    if not sum(rows):
        raise ValueError(f"data.sources: {given.path}: expected at least one sample, found none")
    if not source.random_access:
        return InOrder(rows)
    at_once = source.shards_at_once if given.shards_at_once is None else given.shards_at_once
    return ShardOrder(rows, seed, at_once)


@dataclass(frozen=True)
class Row:
    """What stands at a position."""

    position: int
    key: str
    rendered: Rendered
    pictures: tuple[Tensor, ...]
    """What is to be known of its pictures, in reading order: pixels or latents."""
    is_cut: bool
    """Whether turns at its end were left out."""
    skipped: tuple[Skipped, ...] = ()
    """Samples that it stands in for."""


@dataclass(frozen=True)
class Reading:
    """How turns become rows."""

    tokenizer: PreTrainedTokenizerFast
    num_slots: int
    """Tokens of a picture."""
    row_length: int
    """Most positions of a row."""
    system: str | None = None
    """What opens a conversation without a system turn; None: nothing."""
    labels_marks: bool = False
    """Whether newlines and turn marks of all speakers are trained on."""
    too_long: Literal["cut", "skip"] = "cut"
    """A row that is too long loses its last exchanges, or is not used; no exchange is ever divided."""

    def read(self, turns: Sequence[Turn], key: str) -> tuple[Rendered, bool]:
        """Return turns as a row, and whether some were cut off.

        Raises:
            BrokenSample: too long, or nothing in it is to be learnt.
        """
        turns = opened(turns, self.system)
        row, is_cut = self._render(turns), False
        if len(row.ids) > self.row_length:
            row, is_cut = self._cut(turns, len(row.ids), key), True
        if all(label == IGNORED for label in row.labels) and not any(run.target for run in row.runs):
            raise Unusable(key, "expected an assistant turn to learn from, got none", "silence")
        return row, is_cut

    def _render(self, turns: Sequence[Turn]) -> Rendered:
        row = render(turns, self.tokenizer, self.num_slots)
        return label_marks(row, self.tokenizer) if self.labels_marks else row

    def _cut(self, turns: Sequence[Turn], length: int, key: str) -> Rendered:
        ends = np.cumsum([len(self._render([turn]).ids) for turn in turns])
        fit = [
            number
            for number, (turn, end) in enumerate(zip(turns, ends, strict=True), 1)
            if turn.role == "assistant" and end <= self.row_length
        ]
        if self.too_long == "skip" or not fit:
            reason = f"expected at most {self.row_length} positions (row_length), got {length}"
            raise Unusable(key, reason + ("" if fit else ", and so has its first exchange"), "length")
        return self._render(turns[: fit[-1]])


Fetch = Callable[[Sequence[Image], str, Spot], Sequence[Tensor]]
"""`fetch(images, key, spot)`: what is to be known of the first pictures of a sample. Raises BrokenSample."""


class Talks:
    """Samples of mixed sources as rows, by position."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: Sequence[SourceSettings],
        seed: int,
        reading: Reading,
        fetch: Fetch,
    ):
        """Mix them.

        Args:
            sources: open ones.
            settings: of each.
            seed: of their order.
            reading: how turns become rows.
            fetch: what is to be known of pictures.
        """
        self.sources, self.settings, self.seed = tuple(sources), tuple(settings), seed
        self.reading, self.fetch = reading, fetch
        self.mixture = mixed(sources, settings, seed)
        self._paths = tuple(given.path for given in settings)
        self._turns = [None if source.random_access else threading.Lock() for source in sources]

    def rows(self, start: int, count: int) -> list[Row]:
        """Return rows start ... start + count - 1."""
        return [self.row(position) for position in range(start, start + count)]

    def row(self, position: int) -> Row:
        """Return the row at a position: its sample's, or the next of that source that can be used.

        Raises:
            ValueError: none of the next MAX_REPLACED can.
        """
        found, skipped = first_usable(
            position,
            lambda number: Spot(*self.mixture.after(position, number)),
            lambda spot: self._row(position, spot),
            self._paths,
        )
        return replace(found, skipped=skipped)

    def _row(self, position: int, spot: Spot) -> Row:
        sample, shares = self._sample(spot), self.settings[spot.source].captions
        if shares:
            lot = float(np.random.default_rng([self.seed, position]).random())
            sample = with_caption(sample, shares, lot)
        rendered, is_cut = self.reading.read(sample.turns, sample.key)
        pictures = tuple(self.fetch(rendered.images, sample.key, spot))
        return Row(position, sample.key, rendered, pictures, is_cut)

    def _sample(self, spot: Spot) -> Sample:
        source, turn = self.sources[spot.source], self._turns[spot.source]
        if turn is None:
            return source[spot.shard, spot.row]
        with turn:  # one reader, from front to back
            return source[spot.shard, spot.row]


def tally(rows: Sequence[Row]) -> dict[str, int]:
    """Return at how many positions samples were skipped, and how many were cut."""
    return {"skipped": sum(len(row.skipped) > 0 for row in rows), "cut": sum(row.is_cut for row in rows)}
