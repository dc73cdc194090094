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
    stamp = _stamp(path)
    kept = index_path(path, kind, cache)
    if (found := _read(kept, stamp)) is not None:
        return found
    with _bar(path) as advance:
        arrays = dict(build(path, advance))
    if (now := _stamp(path)).tolist() != stamp.tolist():
        raise ValueError(
            f"{path}: changed while it was indexed, from {stamp} to {now}; wait till it is whole"
        )
    _write(kept, {**arrays, "stamp": stamp})
    return arrays


def index_path(path: Path, kind: str, cache: Path | None) -> Path:
    """Return where the index of a file is kept."""
    digest = hashlib.sha256(f"{kind}\n{Path(path).resolve()}".encode()).hexdigest()[:24]
    return Path(cache or default_cache()) / f"{path.name[:60]}-{digest}.npz"


def _stamp(path: Path) -> np.ndarray:
    facts = path.stat()
    return np.array([facts.st_size, facts.st_mtime_ns], dtype=np.int64)


class _Kept(Mapping):
    """The arrays of an index, each read from its file when it is first asked for."""

    def __init__(self, path: Path, names: list[str], held: dict[str, np.ndarray]):
        self._path, self._names, self._held = path, names, held

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._held:
            with np.load(self._path, allow_pickle=False) as file:
                self._held[name] = file[name]
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read(kept: Path, stamp: np.ndarray) -> Arrays | None:
    """Return the index if it is of the file as it is now; None if it is to be made."""
    if not kept.is_file():
        return None
    try:
        with kept.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if file["stamp"].tolist() != stamp.tolist():
                return None
            names = [name for name in file.files if name != "stamp"]
            return _Kept(kept, names, {name: file[name] for name in names if name in READ_AT_ONCE})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
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
