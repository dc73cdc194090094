"""Rows from the hub, as they come: through `datasets`, without a copy of the data set.

There is no way back in a stream. A row a little further on is reached by reading those before it, which are
held for other threads that ask for them soon; any other by beginning anew: ask for rows about in their order.
Going on at row n costs what reading n rows does, or less where the files' own indexes let `datasets` leave
whole row groups out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from unimm.data.readers.arrow import hub_library
from unimm.data.samples import BrokenSample

PREFIX = "hf://"
HUB_OPTIONS = ("revision", "subset", "rows")
HELD = 1024  # rows in memory, the last that were read: a batch for each of a few threads


class Streamed:
    """Rows of an iterable data set; one shard, read from front to back."""

    random_access = False
    shards_at_once = None
    faults: tuple[str, ...] = ()

    def __init__(self, name: str, open: Callable[[], Any], rows: int | None = None):
        """Begin a stream.

        Args:
            name: to call it by.
            open: returns the `datasets.IterableDataset`.
            rows: how many there are; None asks the data set.

        Raises:
            ValueError: neither says how many rows there are.
        """
        self.name, self.open = name, open
        if rows is None:
            rows = _promised(open())
        if not rows:
            raise ValueError(f"{name}: the data set does not say how many rows it has; give rows=")
        self.shards = (int(rows),)
        self._next, self._iterator, self._held = 0, None, {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_next": 0, "_iterator": None, "_held": {}}

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row: the stream's name and its place, from 0."""
        return f"{self.name}:{row}"

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return a row: one of the last at once, one of the next by reading on, any other by beginning anew.

        Raises:
            BrokenSample: the stream ends before it.
        """
        if row in self._held:
            return self._held[row]
        if self._iterator is None or not self._next <= row < self._next + HELD:
            stream = self.open().decode(False)
            self._iterator, self._next = iter(stream.skip(row) if row else stream), row
        try:
            while self._next <= row:
                self._hold(next(self._iterator))
            return self._held[row]
        except StopIteration:
            self._iterator = None
            reason = f"the stream ends before row {row}, {self.shards[0]} were promised"
            raise BrokenSample(self.key(shard, row), reason, "missing") from None

    def _hold(self, row: Mapping[str, Any]) -> None:
        self._held[self._next] = row
        self._next += 1
        if len(self._held) > HELD:
            del self._held[next(iter(self._held))]


def _promised(stream: Any) -> int | None:
    """Return how many rows a stream says that it has."""
    splits = stream.info.splits or {}
    found = splits.get(str(stream.split)) if stream.split is not None else None
    return None if found is None else found.num_examples


def hub_rows(
    name: str,
    split: str = "train",
    revision: str | None = None,
    subset: str | None = None,
    rows: int | None = None,
) -> Streamed:
    """Open a data set of the hub.

    Args:
        name: "hf://owner/name".
        split: of the data set.
        revision: a commit, a tag or a branch.
        subset: the name of one of its configurations.
        rows: how many there are, where it does not say itself.
    """
    datasets = hub_library()
    short = name.removeprefix(PREFIX).removeprefix("datasets/")
    load = partial(datasets.load_dataset, short, subset, split=split, revision=revision, streaming=True)
    return Streamed(short, load, rows)
