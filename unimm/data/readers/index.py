"""Where rows stand in a file: found once, kept in a small folder of arrays, found again if the file changed.

The folder holds plain .npy files, which are read in place: a row costs the page that it is on, not the whole
array. It is named after the file's absolute path, size and time of change, so another file, or the same one
later, has another index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from unimm.whole import PARTIAL

Arrays = Mapping[str, np.ndarray]
Build = Callable[[Path, Callable[[int], None]], Arrays]
"""`build(path, advance)` reads a file and calls `advance(bytes so far)` now and then."""

READ_AT_ONCE = ("num_rows", "rows")  # what is asked of every index when a data set is opened
HELD = 256  # arrays mapped at a time: each takes a file descriptor, and a process often has 1024
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
        ValueError: the file changes while it is read.
        OSError: the cache folder cannot be written.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"data: no file at {path}")
    folder = index_path(path, kind, cache)
    if (found := _opened(folder)) is not None:
        return found
    with _bar(path) as advance:
        arrays = build(path, advance)
    if index_path(path, kind, cache) != folder:
        raise ValueError(f"{path}: changed while it was read; wait till it is whole, and open it again")
    _write(folder, arrays)
    return Kept(folder)


def index_path(path: Path, kind: str, cache: Path | None) -> Path:
    """Return the folder of the index of a file as it is now."""
    facts = path.stat()
    whose = hashlib.sha256(f"{kind}\n{path.resolve()}".encode()).hexdigest()[:24]
    when = hashlib.sha256(f"{facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:8]
    return Path(cache or default_cache()) / f"{path.name[:60]}-{whose}" / when


class Kept(Mapping):
    """The arrays in an index's folder, each mapped when it is asked for."""

    def __init__(self, folder: Path):
        """Look at every array's beginning, and read those that are asked of every index.

        Raises:
            OSError, ValueError: no such folder, or damaged arrays.
        """
        self._files = {file.stem: file for file in sorted(folder.iterdir())}
        mapped = {name: np.load(file, "r", allow_pickle=False) for name, file in self._files.items()}
        self._held = {name: np.array(mapped[name]) for name in READ_AT_ONCE if name in mapped}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array, read only.

        Raises:
            KeyError: none of this name.
            OSError: the folder was removed under way.
        """
        if name in self._held:
            return self._held[name]
        try:
            return _mapped(self._files[name])
        except OSError as error:
            raise OSError(f"{self._files[name]}: the index is gone; open the data set again") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@lru_cache(maxsize=HELD)
def _mapped(file: Path) -> np.ndarray:
    return np.load(file, "r", allow_pickle=False)


def _opened(folder: Path) -> Kept | None:
    """Return an index; None if there is none, or a damaged one: it is nobody's data, and is made again."""
    try:
        return Kept(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)
        _mapped.cache_clear()  # what is made again has the same names
        return None


def _write(folder: Path, arrays: Arrays) -> None:
    """Write an index whole or not at all, and remove those of the file as it was.

    Several processes may make the same one; the first to be ready gives it to all.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        if not folder.is_dir():
            _put_in_place(partial, folder)
    except OSError as error:
        raise OSError(
            f"{folder}: the index could not be written ({error}); name another folder with cache="
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in folder.parent.iterdir():
        if other != folder and not other.name.endswith(PARTIAL):
            shutil.rmtree(other, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was quicker
            raise


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
