"""WISE: 1,000 prompts that need knowledge of the world, one picture each, judged by a model's marks.

Niu et al. 2025, arXiv 2503.07265; https://github.com/PKU-YuanGroup/WISE, as of commit eb51174. Two sets that
do not compare: the legacy one, and WISE_Verified with about 200 changed prompts. The prompts are in three
files each; their licence is not stated, so they are not shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.bench.benchmark import Asked, Benchmark, Judges, Record, Source
from unimm.evaluation.bench.items import Item, PromptSet, git_blob, items_of, recognised, required, sha256
from unimm.evaluation.bench.layouts import WISE as LAYOUT
from unimm.evaluation.bench.requests import MARKS, marks_of, read_request, request_of
from unimm.evaluation.scorers.drawing.wise import wiscore
from unimm.evaluation.scorers.records import has_failed
from unimm.whole import read_json

_LEGACY, _VERIFIED = "PKU-YuanGroup/WISE@eb51174, legacy", "PKU-YuanGroup/WISE@eb51174, verified"
FILES = ("cultural_common_sense", "spatio-temporal_reasoning", "natural_science")
"""In the order of the ids of their prompts."""
RECORDED = {
    "49d1c3d0fb2df4b599725a458241f8b113dfbf53"
    "+0a175dc324d60563d83af9da307ed62b48cc8d47"
    "+e2ea67e8fd9b58667dac4587a3103c725e714680": _LEGACY,
    "a58268bb4a29ed3c2ac44ca570868ab5393c9c04"
    "+65b0e4c57d27aac5b8f8f1a6af4d5efccca6059d"
    "+0eb06226c01da43d953e2e79b6f6bc55d5c86da4": _VERIFIED,
}
"""Ids that git gives to the three files, joined."""


def read(source: Source) -> PromptSet:
    """Return the prompts of a folder with the three files, <name>.json or <name>_verified.json.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: an entry of another form, or prompts that are not the official ones and not allowed.
    """
    folder = source.needed("wise", "its folder with " + ", ".join(f"{name}.json" for name in FILES))
    paths = [_file(folder, name) for name in FILES]
    rows = [_row(entry, str(path)) for path in paths for entry in read_json(path, list)]
    data = [path.read_bytes() for path in paths]
    known = recognised(str(folder), "+".join(map(git_blob, data)), RECORDED, source.allow_other)
    items = items_of(rows, str(folder))
    return PromptSet(items, len(items), sha256(b"".join(data)), known)


def _file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.json", folder / f"{name}_verified.json"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"--prompts: expected {name}.json or {name}_verified.json in {folder}")


def _row(entry: Any, where: str) -> tuple[str, str, str, dict[str, Any]]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected a list of objects, found {entry!r}")
    wanted = {"prompt_id": int, "Prompt": str, "Explanation": str, "Category": str}
    required(entry, wanted, where)
    return str(entry["prompt_id"]), entry["Prompt"], entry["Category"], entry


def protocol(known: str | None) -> str | None:
    """Return the scorer's protocol for a recorded set of prompts; None for another one."""
    return {_LEGACY: "legacy", _VERIFIED: "verified"}.get(known)


def protocol_of(asked: Asked) -> str:
    """Return the protocol that is asked for, that fits the prompts, or the verified one."""
    return asked.protocol or protocol(asked.known) or "verified"


def judge(
    images: Sequence[Image], items: Sequence[Item], judges: Judges, asked: Asked
) -> list[dict[str, Any]]:
    """Return the judge's reply about each picture and the marks in it."""
    name = protocol_of(asked)
    requests = [request_of(name, item.facts, asked.extras.get("request")) for item in items]
    replies = judges["judge"].judge(images, requests)
    return [{"reply": reply, "protocol": name, **marks_of(name, reply)} for reply in replies]


def collect(records: Sequence[Record], asked: Asked) -> tuple[Sequence[Record], dict[str, Any]]:
    """Return the records under their prompts' numbers.

    Raises:
        ValueError: marks of another protocol.
    """
    ids = {item.index: item.facts["prompt_id"] for item in asked.items}
    wanted = protocol_of(asked)
    for record in records:
        if record.get("protocol", wanted) != wanted:
            raise ValueError(
                f"wise: expected marks of {wanted}, got records with those of {record['protocol']}"
            )
    named = [{**record, "prompt_id": ids[record["item"]]} for record in records]
    # A part of the prompts was asked for on purpose: the card says how many.
    return named, {"allow_missing": asked.allow_missing or len(asked.items) < _TOTAL}


_TOTAL = 1000


def verdict(record: Record, asked: Asked) -> tuple[float, str]:
    """Return the picture's own score, and the judge's reply."""
    if has_failed(record):
        return 0.0, record["failed"]
    name = protocol_of(asked)
    marks = [record[mark] for mark in MARKS[name]]
    if None in marks:
        return 0.0, f"no marks in: {record['reply']}"
    return (float(marks[0]) if name == "verified" else wiscore(*marks)), record["reply"]


WISE = Benchmark(
    name="wise",
    about="prompts that need knowledge, by a judge's marks (arXiv 2503.07265)",
    samples=1,
    layout=LAYOUT,
    read=read,
    scorer="wise",
    roles={"judge": "judge"},
    judge=judge,
    collect=collect,
    verdict=verdict,
    protocol=protocol,
    files={"request": read_request},
)
