"""skipped.jsonl: every sample that a run could not use, once, with the reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from unimm.data.standins import Skipped

NAME = "skipped.jsonl"
PLACE = ("position", "source", "shard", "row")
"""What no two lines have in common; a key may be that of rows in several files."""


class SkipList:
    """Adds a line for each sample that was skipped, at its own position or where it was to stand in.

    Batches are prepared ahead and by several ranks, and a run that goes on prepares some again: a position
    that is listed is not listed again. Lines are short and written at once, so those of several processes do
    not mix.
    """

    def __init__(self, folder: Path):
        """Open, or begin, the list of a run."""
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._known = {tuple(map(found.get, PLACE)) for found in read_skipped(folder)}
        self._ends_whole()

    def add(self, skipped: Iterable[Skipped]) -> None:
        """List what is not listed yet."""
        with self._lock:
            new = {_place(each): each for each in skipped if _place(each) not in self._known}
            if not new:
                return
            self._known.update(new)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(asdict(each)) + "\n" for each in new.values())
            with self.path.open("ab", buffering=0) as file:
                file.write(lines.encode())

    def _ends_whole(self) -> None:
        """End a last line that a killed process left torn, so that the next one begins anew."""
        if self.path.is_file() and self.path.stat().st_size:
            with self.path.open("rb+") as file:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")


def _place(skipped: Skipped) -> tuple:
    return tuple(getattr(skipped, name) for name in PLACE)


def read_skipped(folder: Path | str) -> list[dict]:
    """Return the whole lines of a run's list, in the order of their positions; [] where there is none."""
    path = Path(folder) / NAME
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:  # torn by a process that was killed
            continue
    return sorted(found, key=lambda each: each["position"])
