"""Records of judged pictures: a line of JSON each, appended as they are made, never made twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from unimm.whole import read_lines

FILE = "records.jsonl"


class Key(NamedTuple):
    """What makes a record one of a kind; a picture that was drawn anew has another digest."""

    item: int
    sample: int
    digest: str
    judge: str
    version: int
    inputs: str
    """Hash of the prompts and of what else the judge was given."""

    @classmethod
    def of(cls, record: Mapping[str, Any], where: str) -> Key:
        """Return the key of a record.

        Raises:
            ValueError: a field of the key is not there.
        """
        lacking = [name for name in cls._fields if name not in record]
        if lacking:
            raise ValueError(f"{where}: expected a record with {', '.join(cls._fields)}, lacking {lacking}")
        return cls(*(record[name] for name in cls._fields))


@dataclass(frozen=True)
class Records:
    """The records in a file."""

    path: Path

    def read(self) -> dict[Key, dict[str, Any]]:
        """Return every record by its key; none where there is no file.

        Raises:
            ValueError: a line that is no record, or a record that is there twice.
        """
        if not self.path.is_file():
            return {}
        mend(self.path)
        found: dict[Key, dict[str, Any]] = {}
        for number, record in enumerate(read_lines(self.path), start=1):
            where = f"{self.path}, record {number}"
            key = Key.of(record, where)
            if key in found:
                raise ValueError(
                    f"{where}: expected every picture once, but sample {key.sample} of prompt {key.item} was "
                    f"judged by {key.judge} before; were two files joined? Take one of the lines out"
                )
            found[key] = record
        return found

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add records to the end of the file."""
        append_lines(self.path, records)


def append_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a file in one piece, so that several processes may do so at once.

    Raises:
        OSError: the disk is full.
        ValueError: a number that JSON cannot say.
    """
    data = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(handle, data)
    finally:
        os.close(handle)
    if written != len(data):
        raise OSError(f"{path}: {written} of {len(data)} bytes written; is the disk full?")


def mend(path: Path) -> int:
    """Cut off a last line that a killed process left unfinished; return how many bytes it had."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(path, end)
    return len(data) - end
