"""Parquet read by row groups: each is a shard, and the last few stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache as remembered
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from unimm.data.readers.index import Arrays, index_of
from unimm.data.samples import BrokenSample

KIND = "parquet 1"
AT_ONCE = 4  # row groups that are shuffled together if nobody says how many
HELD = 2 * AT_ONCE  # row groups of a source in memory: of pictures, some tens of megabytes each


def build_index(path: Path, advance: Callable[[int], None]) -> Arrays:
    """Return the rows of each row group of a file, int64 [G].

    Raises:
        ValueError: not parquet.
    """
    pyarrow = parquet_library()
    try:
        facts = pyarrow.parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not readable as parquet, cut short? ({error})") from error
    return {
        "rows": np.array([facts.row_group(g).num_rows for g in range(facts.num_row_groups)], dtype=np.int64)
    }


class Parquets:
    """Rows of parquet files; each row group is a shard.

    Reading a row reads its group unless that is among the last few.
    """

    random_access = True
    shards_at_once = AT_ONCE
    faults: tuple[str, ...] = ()

    def __init__(self, paths: Sequence[Path], cache: Path | None):
        """Open them; only their footers are read.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: no files, or one that is no parquet.
        """
        if not paths:
            raise ValueError("parquet: expected at least one file, got none")
        self.paths = tuple(map(Path, paths))
        counts = [index_of(path, KIND, build_index, cache)["rows"] for path in self.paths]
        self._groups = [(file, group) for file, rows in enumerate(counts) for group in range(len(rows))]
        self._firsts = [int(first) for rows in counts for first in np.cumsum(rows) - rows]
        self.shards = tuple(int(number) for rows in counts for number in rows)

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row: its file and place in the whole file, from 0."""
        return f"{self.paths[self._groups[shard][0]].name}:{self._firsts[shard] + row}"

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return a row.

        Raises:
            BrokenSample: its group cannot be decoded.
        """
        pyarrow = parquet_library()
        file, group = self._groups[shard]
        try:
            table = _groups_of(self.paths)(file, group)
            return {name: table.column(name)[row].as_py() for name in table.column_names}
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            told = " ".join(str(error).split())
            raise BrokenSample(
                self.key(shard, row), f"cannot be read from parquet ({told})", "damage"
            ) from error


@remembered
def _groups_of(paths: tuple[Path, ...]) -> Callable[[int, int], Any]:
    """Return what reads a group of a file of these, and remembers the last few: sources do not share them."""

    @lru_cache(maxsize=HELD)
    def group_of(file: int, group: int) -> Any:
        with parquet_library().parquet.ParquetFile(paths[file]) as opened:
            return opened.read_row_group(group, use_threads=False)

    return group_of


def parquet_library() -> ModuleType:
    """Return pyarrow with its parquet part, an extra.

    Raises:
        ImportError: not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("parquet: pyarrow is not installed; pip install 'unimm[train]'") from error
    return pyarrow
