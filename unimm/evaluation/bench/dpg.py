"""DPG-Bench: 1,065 dense prompts, four pictures each in a grid, judged by answers to questions about them.

Hu et al. 2024 (ELLA), arXiv 2403.05135; https://github.com/TencentQQGYLab/ELLA, as of commit 3c228f1.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.bench.benchmark import Asked, Benchmark, Judges, Record, Source
from unimm.evaluation.bench.items import Item, PromptSet, git_blob, items_of, recognised, sha256
from unimm.evaluation.bench.layouts import DPG as LAYOUT
from unimm.evaluation.scorers.drawing.dpg_questions import Question, read_questions
from unimm.evaluation.scorers.records import has_failed
from unimm.whole import read_json

RECORDED = {"6149816930d52aec5dbf2daf42e83951d4f9621fcc667c9853e1241f9a648766": "TencentQQGYLab/ELLA@3c228f1"}
QUESTIONS = {"98457fc9901943f51ff9a30367250fc292533bed": "TencentQQGYLab/ELLA@3c228f1"}


def read(source: Source) -> PromptSet:
    """Return the prompts of a folder of <item_id>.txt, or of one JSON object {item_id: prompt}.

    Both forms of the same prompts have one hash: that of the object, sorted, without spaces around prompts.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no prompts in it, or prompts that are not the official ones and not allowed.
    """
    path = source.needed("dpg", "its folder of prompts (*.txt) or prompts.json")
    table = read_json(path) if path.is_file() else _folder(path)
    for name, text in table.items():
        if not isinstance(text, str):
            raise ValueError(f"{path}: {name}: expected a prompt, got {text!r}")
    texts = {name: table[name].strip() for name in sorted(table)}
    found = sha256(json.dumps(texts, ensure_ascii=False).encode())
    known = recognised(str(path), found, RECORDED, source.allow_other)
    items = items_of([(name, text, None, {"item_id": name}) for name, text in texts.items()], str(path))
    return PromptSet(items, len(items), found, known)


def _folder(path: Path) -> dict[str, str]:
    if (path / "prompts").is_dir():
        path = path / "prompts"
    files = sorted(path.glob("*.txt"))
    if not files:
        raise ValueError(f"--prompts: expected files <item_id>.txt in {path}, found none")
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def questions(path: Path, allow_other: bool) -> tuple[tuple[Question, ...], str | None]:
    """Return the questions of dpg_bench.csv, and the name of the recorded file if it is that.

    Raises:
        ValueError: a file that cannot be read, or one that is not the official one and not allowed.
    """
    found = read_questions(path)
    return found, recognised(str(path), git_blob(path.read_bytes()), QUESTIONS, allow_other, "questions")


def judge(
    images: Sequence[Image], items: Sequence[Item], judges: Judges, asked: Asked
) -> list[dict[str, Any]]:
    """Return every question of each picture's prompt and the answer to it, as it was given."""
    table = _of_items(asked.extras["questions"])
    pairs = [(place, question) for place, item in enumerate(items) for question in table.get(item.name, ())]
    shown = [images[place] for place, _ in pairs]
    said = judges["vqa"].ask(shown, [question.text for _, question in pairs]) if pairs else []
    records: list[dict[str, Any]] = [{"answers": {}, "questions": {}} for _ in images]
    for (place, question), answer in zip(pairs, said, strict=True):
        records[place]["answers"][str(question.number)] = answer
        records[place]["questions"][str(question.number)] = question.text
    return records


def _of_items(table: Sequence[Question]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = defaultdict(list)
    for question in table:
        found[question.item].append(question)
    return found


def collect(records: Sequence[Record], asked: Asked) -> tuple[Sequence[Record], dict[str, Any]]:
    """Return one record per prompt with the answers of all its pictures; it fails if one of them does."""
    names = {item.index: item.name for item in asked.items}
    by_item: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_item[names[record["item"]]].append(record)
    joined: list[Record] = []
    for name, pictures in by_item.items():
        broken = [record["failed"] for record in pictures if has_failed(record)]
        said = {"failed": broken[0]} if broken else {"answers": [record["answers"] for record in pictures]}
        joined.append({"item_id": name, **said})
    options = {"questions": asked.extras["questions"], "pictures": asked.samples}
    if asked.protocol == "fixed":  # which refuses what is missing; of a part of the prompts the rest is not
        options["questions"] = [each for each in asked.extras["questions"] if each.item in names.values()]
        options["allow_missing"] = asked.allow_missing
    return joined, options


def verdict(record: Record, asked: Asked) -> tuple[float, str]:
    """Return how many of a picture's questions got a yes, before any is set to 0, and which did not."""
    if has_failed(record):
        return 0.0, record["failed"]
    answers, texts = record["answers"], record["questions"]
    refused = [texts[number] for number, answer in answers.items() if answer != "yes"]
    return 1 - len(refused) / max(1, len(answers)), "no: " + "; ".join(refused) if refused else ""


DPG = Benchmark(
    name="dpg",
    about="dense prompts, by questions about their details (arXiv 2403.05135)",
    samples=4,
    layout=LAYOUT,
    read=read,
    scorer="dpg",
    roles={"vqa": "yes_no"},
    judge=judge,
    collect=collect,
    verdict=verdict,
    scale=1.0,
    files={"questions": questions},
)
