"""What is at a path: files by kind, and the first rows, read without indexing anything."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from unimm.data.readers.arrow import MARK, Arrows
from unimm.data.readers.fields import parsed
from unimm.data.readers.folders import ENDINGS
from unimm.data.readers.parquet import parquet_library
from unimm.data.readers.tables import JSON_ENDINGS
from unimm.data.readers.tars import compression_hint, split_name
from unimm.data.samples import BrokenSample

MANIFEST = "wds_manifest.json"
FEW_BYTES, FIRST_BYTES = 2**16, 4 * 2**20  # of a JSON file: its first rows, small ones or large
FIRST_ROWS = 8
MOST_FILES = 200_000
SPLIT = re.compile(r"^(train|training|val|valid|validation|test|dev|eval)(?=[-_.])")


@dataclass(frozen=True)
class Look:
    """The files at a path, and what their beginnings hold."""

    path: Path
    split: str | None = None
    """Of files that are named by splits, which."""
    errors: dict[str, str] = field(default_factory=dict)
    """Files whose beginning could not be read, and why."""

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Files, sorted; hidden ones left out, and no more than MOST_FILES of those in folders."""
        if not self.path.is_dir():
            return (self.path,)
        found = []
        for place, inside, names in os.walk(self.path):
            inside[:] = sorted(name for name in inside if name[0] != ".")
            found += [Path(place) / name for name in sorted(names) if name[0] != "."]
            if len(found) > MOST_FILES:
                break
        return tuple(found)

    def ending(self, *endings: str) -> list[Path]:
        """Return the files that end so, of the split that is meant.

        Raises:
            ValueError: files of several splits, and none is named.
        """
        found = [path for path in self.files if path.suffix.lower() in endings]
        splits = sorted({match[1] for path in found if (match := SPLIT.match(path.name))})
        if self.split is None:
            if len(splits) > 1:
                raise ValueError(f"{self.path}: holds the splits {', '.join(splits)}; name one with split=")
            return found
        chosen = [path for path in found if path.name.startswith(self.split)]
        if found and not chosen:
            raise ValueError(
                f"{self.path}: split: expected one of {', '.join(splits) or 'none'}, got {self.split!r}"
            )
        return chosen

    @cached_property
    def manifest(self) -> Path | None:
        """Scale-RAE's list of tars."""
        for path in (self.path, self.path / MANIFEST):
            if path.name == MANIFEST and path.is_file():
                return path
        return None

    @cached_property
    def tables(self) -> Mapping[Path, list[Mapping[str, Any]]]:
        """Files of rows, or the one folder of Arrow files, with their first rows.

        The parquet files of a folder are taken for parts of one table: only the first is opened.
        """
        if (self.path / MARK).is_file():
            return {self.path: self._guarded(self.path, _first_arrow)}
        found, parts = {}, {}
        for path in self.ending(*JSON_ENDINGS, ".parquet"):
            if path.suffix.lower() == ".parquet":
                if path.parent not in parts:
                    parts[path.parent] = self._guarded(path, _first_parquet)
                found[path] = parts[path.parent]
            elif path.name != MANIFEST:
                found[path] = self._guarded(path, _first_json)
        return found

    @cached_property
    def tars(self) -> Mapping[Path, Mapping[str, Any]]:
        """Tars, and of the first one the fields of its first row: JSON parsed, others None."""
        found = self.ending(".tar")
        return {path: self._guarded(path, _first_members) if path == found[0] else {} for path in found}

    @cached_property
    def pictures(self) -> list[Path]:
        """Pictures, wherever they are."""
        return [path for path in self.files if path.suffix.lower() in ENDINGS]

    def summary(self) -> str:
        """Return what is there, in a few words."""
        return "; ".join([self._kinds(), *self._held()[:3]])

    def _kinds(self) -> str:
        if not self.path.is_dir():
            return f"a file {self.path.suffix or 'without an ending'}"
        counts = Counter(path.suffix.lower() or "without an ending" for path in self.files)
        kinds = [f"{number} {ending}" for ending, number in counts.most_common(6)]
        return f"a folder with {', '.join(kinds) or 'no files'}"

    def _held(self) -> list[str]:
        """Return what the first rows of the files that can be read are, those of the first tar last."""
        tables = [
            f"{path.name} with {', '.join(rows[0]) or 'no keys'}" if rows else f"{path.name} without objects"
            for path, rows in self.tables.items()
            if path.name not in self.errors
        ]
        tars = [
            f"{path.name} with {', '.join(f'<key>.{each}' for each in fields) or 'nothing in it'}"
            for path, fields in list(self.tars.items())[:1]
            if path.name not in self.errors
        ]
        return tables + tars

    def _guarded(self, path: Path, peek) -> Any:
        try:
            return peek(path)
        except (OSError, ValueError, EOFError, tarfile.TarError, BrokenSample) as error:
            self.errors[path.name] = " ".join(str(error).split())
            return []


def _first_json(path: Path) -> list[Mapping[str, Any]]:
    """Return the first rows of a JSON list, or of JSON lines; of small rows only a little is read."""
    return _rows_within(path, FEW_BYTES) or _rows_within(path, FIRST_BYTES)


def _rows_within(path: Path, num_bytes: int) -> list[Mapping[str, Any]]:
    with path.open("rb") as file:
        text = file.read(num_bytes).decode("utf-8-sig", "replace").lstrip()
    decoder, rows, at = json.JSONDecoder(), [], 1 if text.startswith("[") else 0
    while len(rows) < FIRST_ROWS:
        while text[at : at + 1] and text[at] in " \t\r\n,":
            at += 1
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # cut off here, or not JSON
            break
        rows.append(row)
    return [row for row in rows if isinstance(row, dict)]


def _first_parquet(path: Path) -> list[Mapping[str, Any]]:
    pyarrow = parquet_library()
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            return next((batch.to_pylist() for batch in islice(file.iter_batches(batch_size=1), 1)), [])
    except pyarrow.ArrowException as error:
        raise ValueError(f"not readable as parquet ({error})") from error


def _first_arrow(folder: Path) -> list[Mapping[str, Any]]:
    rows = Arrows(folder)
    return [rows.row(0, 0)] if rows.shards[0] else []


def _first_members(path: Path) -> Mapping[str, Any]:
    try:
        return _first_fields(path)
    except tarfile.TarError as error:
        raise ValueError(f"{error}{compression_hint(path)}") from error


def _first_fields(path: Path) -> Mapping[str, Any]:
    found, key = {}, None
    with tarfile.open(path, "r:") as tar:
        for info in islice(tar, 64):
            if not info.isfile():
                continue
            own, name = split_name(info.name)
            if key not in (None, own):
                break
            key, name = own, name.lower()
            is_json = name == "json"
            found[name] = parsed(tar.extractfile(info).read(FIRST_BYTES), info.name, own) if is_json else None
    return found
