"""JSON lists and JSON lines of any size: where each row stands is indexed once, and rows are parsed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm.data.readers.fields import parsed, shown
from unimm.data.readers.index import Arrays, index_of
from unimm.data.samples import BrokenSample

KIND = "json 1"
CHUNK = 8 * 2**20
MAX_ROW_BYTES = 64 * 2**20
"""A conversation is a few kilobytes; what is larger is a picture written in words, or a lost line break."""

BOM = b"\xef\xbb\xbf"
QUOTE, BACKSLASH = 34, 92
_STEP = np.zeros(256, dtype=np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1
_STRUCTURE = _STEP != 0
_STRUCTURE[ord(",")] = True


def build_index(path: Path, advance: Callable[[int], None]) -> Arrays:
    """Return where the rows of a file stand: start, size int64 [R], and damage, a sentence in UTF-8.

    Raises:
        ValueError: the file is neither a list of objects nor has an object in each line.
    """
    with path.open("rb") as file:
        begin = file.read(4096)
    skipped = len(BOM) if begin.startswith(BOM) else 0
    first = begin[skipped:].lstrip()[:1]
    if first not in (b"[", b"{"):
        raise ValueError(
            f"{path}: expected a JSON list or a JSON object in each line, it begins with {begin[:24]!r}"
        )
    starts, sizes, damage = (_scan_list if first == b"[" else _scan_lines)(path, skipped, advance)
    return {
        "start": starts,
        "size": sizes,
        "num_rows": np.array(len(starts), dtype=np.int64),
        "damage": np.frombuffer(damage.encode(), dtype=np.uint8),
    }


def _chunks(path: Path, skipped: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of a file's pieces; a piece never ends in a backslash but the last."""
    offset, held = skipped, b""
    with path.open("rb") as file:
        file.seek(skipped)
        while block := file.read(CHUNK):
            block = held + block
            whole = block.rstrip(b"\\")
            held = block[len(whole) :]
            if whole:
                yield offset, whole
            offset += len(whole)
    if held:
        yield offset, held


def _scan_lines(path: Path, skipped: int, advance: Callable) -> tuple[np.ndarray, np.ndarray, str]:
    """Find the lines that are not blank."""
    breaks = []
    for offset, chunk in _chunks(path, skipped):
        breaks.append(offset + np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 10))
        advance(offset + len(chunk))
    ends = np.concatenate([*breaks, [path.stat().st_size]]).astype(np.int64)
    starts = np.concatenate([[skipped], ends[:-1] + 1]).astype(np.int64)
    sizes = ends - starts
    keep = sizes > 0
    with path.open("rb") as file:
        for number in np.flatnonzero(keep & (sizes < 64)):  # blank ones may hold spaces
            file.seek(starts[number])
            keep[number] = bool(file.read(int(sizes[number])).strip())
    return starts[keep], sizes[keep], ""


def _scan_list(path: Path, skipped: int, advance: Callable) -> tuple[np.ndarray, np.ndarray, str]:
    """Find the objects of a list by counting brackets outside of strings, many bytes at once."""
    starts, ends, depth, within, commas, closed = [], [], 0, False, 0, None
    for offset, chunk in _chunks(path, skipped):
        data = np.frombuffer(chunk, dtype=np.uint8)
        quotes = _quotes(data)
        marks = np.flatnonzero(_STRUCTURE[data])
        marks = marks[(np.searchsorted(quotes, marks) + within) % 2 == 0]
        steps = _STEP[data[marks]].astype(np.int64)
        depths = depth + np.cumsum(steps)
        if closed is None and (shut := np.flatnonzero((depths == 0) & (steps < 0))).size:
            closed = offset + int(marks[shut[0]])
            marks, steps, depths = marks[: shut[0] + 1], steps[: shut[0] + 1], depths[: shut[0] + 1]
        starts.append(offset + marks[(depths == 2) & (steps > 0)])
        ends.append(offset + marks[(depths == 1) & (steps < 0)] + 1)
        commas += int(((depths == 1) & (steps == 0)).sum())
        depth, within = int(depths[-1]) if len(depths) else depth, (within + len(quotes)) % 2
        advance(offset + len(chunk))
        if closed is not None:
            break
    begin, end = np.concatenate(starts).astype(np.int64), np.concatenate(ends).astype(np.int64)
    if closed is not None and len(begin) != (commas + 1 if commas or len(begin) else 0):
        raise ValueError(f"{path}: expected a list of objects, got {len(begin)} among {commas + 1} elements")
    damage = ""
    if closed is None:
        damage = f"{path}: cut short, the list is not closed after {len(end)} whole rows"
        end = np.append(end, path.stat().st_size)[: len(begin)]
    return begin, end - begin, damage


def _quotes(data: np.ndarray) -> np.ndarray:
    """Return where quotes stand that begin or end a string: those behind no odd run of backslashes."""
    quotes, slashes = np.flatnonzero(data == QUOTE), np.flatnonzero(data == BACKSLASH)
    if not slashes.size:
        return quotes
    firsts = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
    lengths = np.diff(np.append(firsts, len(slashes)))
    behind = slashes[firsts] + lengths
    return np.setdiff1d(quotes, behind[lengths % 2 == 1], assume_unique=True)


class Jsons:
    """Rows of JSON files: one shard each."""

    random_access = True
    shards_at_once = None

    def __init__(self, paths: Sequence[Path], cache: Path | None):
        """Open them.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: no files, or one that is neither a list nor lines of objects.
        """
        if not paths:
            raise ValueError("JSON files: expected at least one, got none")
        self.paths = tuple(map(Path, paths))
        self._indexes = tuple(index_of(path, KIND, build_index, cache) for path in self.paths)
        self.shards = tuple(int(index["num_rows"]) for index in self._indexes)

    @property
    def faults(self) -> tuple[str, ...]:
        """The files that are cut short."""
        said = (index["damage"].tobytes().decode() for index in self._indexes)
        return tuple(damage for damage in said if damage)

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row: its file and place, from 0."""
        return f"{self.paths[shard].name}:{row}"

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return a row.

        Raises:
            BrokenSample: too large, no JSON, or no object.
        """
        index, key = self._indexes[shard], self.key(shard, row)
        start, size = int(index["start"][row]), int(index["size"][row])
        if size > MAX_ROW_BYTES:
            raise BrokenSample(key, f"expected at most {MAX_ROW_BYTES} bytes of JSON, got {size}", "damage")
        with self.paths[shard].open("rb", buffering=0) as file:
            file.seek(start)
            content = file.read(size)
        value = parsed(content, "row", key)
        if not isinstance(value, dict):
            raise BrokenSample(key, f"expected an object, got {shown(value)}")
        return value
