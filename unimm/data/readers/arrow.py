"""Data sets that Hugging Face's `save_to_disk` wrote: folders of Arrow files, read in place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from unimm.data.samples import BrokenSample

MARK = "dataset_info.json"
"""Beside the Arrow files of one split."""


class Arrows:
    """Rows of one saved split, memory-mapped; one shard, as any row costs the same."""

    random_access = True
    shards_at_once = None
    faults: tuple[str, ...] = ()

    def __init__(self, folder: Path):
        """Open it.

        Raises:
            ValueError: not such a folder, or a damaged one.
        """
        self.folder = Path(folder)
        self.shards = (len(_opened(self.folder)),)

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row: its folder and place, from 0."""
        return f"{self.folder.name}:{row}"

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return a row; pictures as `{bytes, path}`.

        Raises:
            BrokenSample: it cannot be read.
        """
        try:
            return _opened(self.folder)[row].to_pylist()[0]
        except Exception as error:  # libraries differ in what damage makes them raise
            raise BrokenSample(
                self.key(shard, row), f"cannot be read from Arrow ({error})", "damage"
            ) from error


@lru_cache(maxsize=8)
def _opened(folder: Path) -> Any:
    datasets = hub_library()
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # see above
        raise ValueError(f"{folder}: not readable as a data set saved to disk ({error})") from error
    if isinstance(found, datasets.DatasetDict):
        splits = ", ".join(found)
        raise ValueError(f"{folder}: expected one split, got {splits}; name {folder / next(iter(found))}")
    return found.with_format("arrow")  # or every picture would be decoded


def hub_library() -> ModuleType:
    """Return `datasets`, an extra.

    Raises:
        ImportError: not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError("data: datasets is not installed; pip install 'unimm[train]'") from error
    return datasets
