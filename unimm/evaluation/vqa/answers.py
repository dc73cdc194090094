"""Records of a run of questions: lines of JSON, appended a batch at a time, each question once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.evaluation.generate import Share
from unimm.evaluation.records import FILE, append_lines, mend
from unimm.whole import read_lines

Record = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """The records in a folder: a file per process, the first one's is `records.jsonl`."""

    folder: Path

    def path(self, share: Share) -> Path:
        """Return the file that a process appends to."""
        if share.rank == 0:
            return self.folder / FILE
        return self.folder / f"{Path(FILE).stem}-{share.rank:05d}{Path(FILE).suffix}"

    def read(self, share: Share | None = None) -> dict[str, Record]:
        """Return the records of all processes by id; what answers a question takes the place of a failure.

        Args:
            share: whose file is mended: a line that a killed process left unfinished is cut off. The
                unfinished lines of others are passed over: they may be writing.

        Raises:
            ValueError: a line that is no record; a question answered twice and differently.
        """
        if share is not None and self.path(share).is_file():
            mend(self.path(share))
        found: dict[str, Record] = {}
        for path in sorted(self.folder.glob(f"{Path(FILE).stem}*{Path(FILE).suffix}")):
            for number, record in enumerate(_finished(path), 1):
                _join(found, record, f"{path}, record {number}")
        return found

    def append(self, share: Share, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records to this process's file."""
        append_lines(self.path(share), records)


def _finished(path: Path) -> list[Record]:
    """Return the records of a file less an unfinished last line."""
    if path.read_bytes()[-1:] in (b"\n", b""):
        return read_lines(path)
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def _join(found: dict[str, Record], record: Record, where: str) -> None:
    own = record.get("id")
    if not isinstance(own, str) or not ("prediction" in record or "error" in record):
        raise ValueError(f"{where}: expected a record with id and prediction, got {', '.join(record)}")
    before = found.get(own)
    if before is not None and "error" not in before:
        if "prediction" in record and record != before:
            raise ValueError(
                f"{where}: the question {own!r} was answered before, and differently; were files of two runs "
                "joined? Take one of the lines out"
            )
        return
    found[own] = record
