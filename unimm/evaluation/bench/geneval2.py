"""GenEval 2: 800 prompts of growing compositionality, one picture each, judged by answers' probabilities.

Kamath et al. 2025, arXiv 2512.16853; https://github.com/facebookresearch/GenEval2, as of commit a6e82d2. The
prompts are CC BY-NC 4.0, so they are not shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from unimm.evaluation.bench.benchmark import Asked, Benchmark, Judges, Record, Source
from unimm.evaluation.bench.items import Item, PromptSet, git_blob, items_of, recognised, required, sha256
from unimm.evaluation.bench.layouts import GENEVAL2 as LAYOUT
from unimm.evaluation.scorers.drawing.geneval2 import geometric_mean
from unimm.evaluation.scorers.records import has_failed
from unimm.whole import read_lines

FILE = "geneval2_data.jsonl"
RECORDED = {"823f48414446157fe252f92e3c60c803c33c303c": "facebookresearch/GenEval2@a6e82d2"}


def read(source: Source) -> PromptSet:
    """Return the prompts of geneval2_data.jsonl, or of another file in its form.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form, or prompts that are not the official ones and not allowed.
    """
    path = source.needed("geneval2", f"its {FILE}")
    path = path / FILE if path.is_dir() else path
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        check_line(line, f"{path}, line {number}")
    data = path.read_bytes()
    known = recognised(str(path), git_blob(data), RECORDED, source.allow_other)
    rows = [(f"{i:05d}", line["prompt"], str(line["atom_count"]), line) for i, line in enumerate(lines)]
    items = items_of(rows, str(path))
    return PromptSet(items, len(items), sha256(data), known)


def check_line(line: Mapping[str, Any], where: str) -> None:
    """Refuse a line that is not GenEval 2's.

    Raises:
        ValueError: what was expected, and what was found.
    """
    required(line, {"prompt": str, "atom_count": int, "vqa_list": list, "skills": list}, where)
    if len(line["vqa_list"]) != len(line["skills"]) or not line["skills"]:
        raise ValueError(
            f"{where}: expected a skill per question, got {len(line['skills'])} skills "
            f"and {len(line['vqa_list'])} questions"
        )
    for pair in line["vqa_list"]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise ValueError(f"{where}: vqa_list: expected [question, answer], got {pair!r}")


NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
QUESTION = "{question} Answer in one word."
WHOLE = 'Does this image show "{prompt}"? Answer the question with Yes or No.'


def spellings(question: str, answer: str) -> list[str]:
    """Return the words whose probability counts: those of the number asked for, or of "yes"."""
    if not question.startswith("How many"):
        return ["Yes", "yes", " yes", " Yes"]
    digits = str(NUMBERS.index(answer) + 1) if answer in NUMBERS else "other"
    return [answer, answer.capitalize(), f" {answer}", f" {answer.capitalize()}", digits, f" {digits}"]


def judge(
    images: Sequence[Image], items: Sequence[Item], judges: Judges, asked: Asked
) -> list[dict[str, Any]]:
    """Return the probability of every part of each picture's prompt, and of the prompt as a whole."""
    parts = [(place, *pair) for place, item in enumerate(items) for pair in item.facts["vqa_list"]]
    said = judges["soft"].mass(
        [images[place] for place, _, _ in parts] + list(images),
        [QUESTION.format(question=question) for _, question, _ in parts]
        + [WHOLE.format(prompt=item.prompt) for item in items],
        [spellings(question, answer) for _, question, answer in parts] + [spellings("", "Yes")] * len(images),
    )
    scores: list[list[float]] = [[] for _ in images]
    for (place, _, _), mass in zip(parts, said, strict=False):
        scores[place].append(float(mass))
    return [
        {"scores": each, "score": float(whole)}
        for each, whole in zip(scores, said[len(parts) :], strict=True)
    ]


def collect(records: Sequence[Record], asked: Asked) -> tuple[Sequence[Record], dict[str, Any]]:
    """Return the records with what the benchmark says of their prompts."""
    facts = {item.index: item.facts for item in asked.items}
    joined = [
        {key: facts[record["item"]][key] for key in ("prompt", "atom_count", "skills")} | dict(record)
        for record in records
    ]
    return joined, {"prompts": len(asked.items), "allow_missing": asked.allow_missing}


def verdict(record: Record, asked: Asked) -> tuple[float, str]:
    """Return the geometric mean of the parts, and the parts that got less than a half."""
    if has_failed(record):
        return 0.0, record["failed"]
    item = next(item for item in asked.items if item.index == record["item"])
    pairs = zip(item.facts["vqa_list"], record["scores"], strict=True)
    doubted = [f"{question} {answer} ({score:.2f})" for (question, answer), score in pairs if score < 0.5]
    return geometric_mean(np.array(record["scores"])), "; ".join(doubted)


GENEVAL2 = Benchmark(
    name="geneval2",
    about="prompts of growing size, by the probability of each part (arXiv 2512.16853)",
    samples=1,
    layout=LAYOUT,
    read=read,
    scorer="geneval2",
    roles={"soft": "soft"},
    judge=judge,
    collect=collect,
    verdict=verdict,
    scale=1.0,
)
