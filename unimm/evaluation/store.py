"""What a model produced, kept in parts: a run that was cut off goes on where it stopped."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unimm.whole import appearing

Arrays = dict[str, np.ndarray]


class Store:
    """Parts of a run in a folder, one file each; a part is there whole or not at all."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.npz")))

    def clear(self) -> None:
        """Remove every part."""
        for path in self.folder.glob("*.npz"):
            path.unlink()

    def keep(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a part, made and saved if they are not there yet.

        Raises:
            ValueError: the part's file is damaged.
            OSError: the disk is full; nothing half-written stays.
        """
        path = self.folder / f"{name}.npz"
        if path.exists():
            return _load(path)
        arrays = make()
        with appearing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
        return arrays

    def collect(
        self,
        name: str,
        items: Sequence,
        size: int,
        make: Callable[[Sequence, int], Arrays],
        advance: Callable[[int], None],
    ) -> Arrays:
        """Return `make(items, start)` over all items, kept `size` items at a time, joined along axis 0."""
        parts: list[Arrays] = []
        for start in range(0, len(items), size):
            piece = items[start : start + size]
            parts.append(
                self.keep(f"{name}-{start:05d}", lambda piece=piece, start=start: make(piece, start))
            )
            advance(len(piece))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _load(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged ({error}); delete it and run again") from None


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task):
        speed = task.finished_speed or task.speed
        return f"{speed:.1f}/s" if speed else ""


@contextmanager
def stage(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left on a terminal, a line elsewhere; yield what moves it on."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{title}: {total}", highlight=False, soft_wrap=True)
        yield lambda count: None
        return
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
