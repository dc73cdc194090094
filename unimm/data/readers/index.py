"""Where rows stand in a file: found once, kept in a small file of arrays, found again if the file changed.

An index holds plain arrays (npz, no pickles). It is named after the file's absolute path and knows its size
and time of change, so another file of the same name never gets it.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from unimm.data.readers.mapped import Mapped
from unimm.whole import appearing

Arrays = Mapping[str, np.ndarray]
Build = Callable[[Path, Callable[[int], None]], Arrays]
"""`build(path, advance)` reads a file and calls `advance(bytes so far)` now and then."""

READ_AT_ONCE = ("num_rows", "rows")  # what is asked of every index when a data set is opened
BAR_FROM_BYTES = 64 * 2**20  # smaller files are indexed before a bar could be read


def default_cache() -> Path:
    """Return where indexes are kept if no folder is named: UNIMM_CACHE, or the user's cache folder."""
    if named := os.environ.get("UNIMM_CACHE"):
        return Path(named) / "indexes"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unimm" / "indexes"


def index_of(path: Path, kind: str, build: Build, cache: Path | None) -> Arrays:
    """Return the index of a file, from the cache if the file is as it was.

    Args:
        path: the file.
        kind: what sort of index, with its version: another kind is another index.
        build: makes it.
        cache: the folder where indexes are kept; None is `default_cache()`.

    Raises:
        FileNotFoundError: no such file.
        OSError: the cache folder cannot be written.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"data: no file at {path}")
    return _Kept(path, kind, build, cache, _stamp(path))


def index_path(path: Path, kind: str, cache: Path | None) -> Path:
    """Return where the index of a file is kept."""
    digest = hashlib.sha256(f"{kind}\n{Path(path).resolve()}".encode()).hexdigest()[:24]
    return Path(cache or default_cache()) / f"{path.name[:60]}-{digest}.npz"


def _stamp(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


class _Kept(Mapping):
    """The arrays of an index, read from its file where it is; made again if that is removed or damaged."""

    def __init__(self, path: Path, kind: str, build: Build, cache: Path | None, stamp: list[int]):
        self._path, self._build, self._stamp = path, build, stamp
        self._kept = index_path(path, kind, cache)
        self._arrays = self._read_or_made()
        self._held = {name: self._arrays[name] for name in self._arrays if name in READ_AT_ONCE}
        self._held = {name: np.array(array) for name, array in self._held.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._held:
            return self._held[name]
        try:
            return self._arrays[name]
        except OSError:  # removed, or another process has made the same one
            pass
        except zipfile.BadZipFile:
            self._kept.unlink(missing_ok=True)
        self._arrays = self._read_or_made()
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._arrays if name != "stamp")

    def __len__(self) -> int:
        return len(self._arrays) - 1

    def _read_or_made(self) -> Arrays:
        """Return the index of the file as it was when it was opened."""
        if (found := _read(self._kept, self._stamp)) is not None:
            return found
        self._expect_unchanged()
        with _bar(self._path) as advance:
            arrays = dict(self._build(self._path, advance))
        self._expect_unchanged()
        _write(self._kept, {**arrays, "stamp": np.array(self._stamp, dtype=np.int64)})
        return Mapped(self._kept)

    def _expect_unchanged(self) -> None:
        if (now := _stamp(self._path)) != self._stamp:
            raise ValueError(
                f"{self._path}: changed while it was read, from {self._stamp} to {now} (bytes, time of "
                "change); wait till it is whole, and open it again"
            )


def _read(kept: Path, stamp: list[int]) -> Mapped | None:
    """Return the index if it is of the file as it was opened; None if it is to be made."""
    try:
        found = Mapped(kept)
        return found if found["stamp"].tolist() == stamp else None
    except (OSError, KeyError, zipfile.BadZipFile):
        return None  # a damaged index is made again; it is nobody's data


def _write(kept: Path, arrays: Arrays) -> None:
    """Write an index whole or not at all; several processes may write the same one."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with appearing(kept) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise OSError(
            f"{kept}: the index could not be written ({error}); name another folder with cache="
        ) from error


@contextmanager
def _bar(path: Path) -> Iterator[Callable[[int], None]]:
    """Show how far the indexing of a large file is, where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console, size = Console(stderr=True), path.stat().st_size
    if not console.is_terminal or size < BAR_FROM_BYTES:
        yield lambda done: None
        return
    columns = (
        TextColumn("indexing {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(path.name, total=size)
        yield lambda done: progress.update(task, completed=done)
