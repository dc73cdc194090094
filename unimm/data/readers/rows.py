"""One source for every format: rows from some sort of file, and what a row of the format means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unimm.data.samples import Sample, expect_place


class Rows(Protocol):
    """Rows of files as mappings: tars, JSON, parquet, Arrow, folders or a stream."""

    shards: tuple[int, ...]
    random_access: bool
    shards_at_once: int | None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with whole files."""

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row."""

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return a row.

        Raises:
            BrokenSample: it cannot be read.
        """


@dataclass(frozen=True)
class RowSource:
    """A `Source` of rows and of how to read them.

    Args:
        name: of the source.
        rows: where they are.
        read: `read(row, key) -> Sample`, which raises BrokenSample for a row of another schema.
    """

    name: str
    rows: Rows
    read: Callable[[Mapping[str, Any], str], Sample]

    @property
    def shards(self) -> tuple[int, ...]:
        return self.rows.shards

    @property
    def random_access(self) -> bool:
        return self.rows.random_access

    @property
    def shards_at_once(self) -> int | None:
        return self.rows.shards_at_once

    @property
    def faults(self) -> tuple[str, ...]:
        return self.rows.faults

    def __len__(self) -> int:
        return sum(self.shards)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        expect_place(self.shards, place)
        return self.read(self.rows.row(*place), self.key(place))

    def key(self, place: tuple[int, int]) -> str:
        return self.rows.key(*place)


Files = Sequence[Path] | Rows
"""What a reader of tables opens: files, or rows that are open already."""


def called(files: Files) -> str:
    """Return a name for a source: its file's, or of several files their folder's."""
    if not isinstance(files, Sequence):
        return files.key(0, 0).rpartition(":")[0]
    paths = files
    return paths[0].parent.name if len(paths) > 1 else paths[0].name
