"""GenEval: 553 prompts in six families, four pictures each, judged by a detector and a classifier of colours.

Ghosh et al. 2023, arXiv 2310.11513; https://github.com/djghosh13/geneval, prompts as of commit af4902f.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from unimm.evaluation.bench.benchmark import Asked, Benchmark, Judges, Record, Source
from unimm.evaluation.bench.items import Item, PromptSet, git_blob, items_of, recognised, required, sha256
from unimm.evaluation.bench.layouts import GENEVAL as LAYOUT
from unimm.evaluation.judges import Detections
from unimm.evaluation.scorers.drawing.geneval import judge_record
from unimm.evaluation.scorers.drawing.geneval_rules import (
    Rules,
    classes_of,
    colors_of,
    other_rules,
    select,
    to_color,
)
from unimm.evaluation.scorers.records import has_failed, some
from unimm.whole import read_lines

FILE = "evaluation_metadata.jsonl"
RECORDED = {"efc21c7e639cd45554a1e44fac87157211f16d51": "djghosh13/geneval@af4902f"}
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


def read(source: Source) -> PromptSet:
    """Return the prompts of evaluation_metadata.jsonl, or of another file in its form.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form, or prompts that are not the official ones and not allowed.
    """
    path = source.needed("geneval", f"its {FILE}")
    path = path / FILE if path.is_dir() else path
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        check_metadata(line, f"{path}, line {number}")
    data = path.read_bytes()
    known = recognised(str(path), git_blob(data), RECORDED, source.allow_other)
    items = items_of(rows(lines), str(path))
    return PromptSet(items, len(items), sha256(data), known)


def rows(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """Return (name, prompt, task, metadata) of lines of metadata."""
    return [(f"{index:05d}", line["prompt"], line["tag"], line) for index, line in enumerate(lines)]


def check_metadata(line: Mapping[str, Any], where: str) -> None:
    """Refuse a line that is not GenEval's metadata.

    Raises:
        ValueError: what was expected, and what was found.
    """
    required(line, {"tag": str, "prompt": str, "include": list}, where)
    if line["tag"] not in TAGS:
        raise ValueError(f"{where}: tag: expected one of {', '.join(TAGS)}, got {line['tag']!r}")
    for clause in (*line["include"], *line.get("exclude", ())):
        if not isinstance(clause, dict):
            raise ValueError(f"{where}: expected objects in include and exclude, got {clause!r}")
        required(clause, {"class": str, "count": int}, where)
        if "position" in clause:
            _check_position(clause["position"], len(line["include"]), where)


def _check_position(position: Any, clauses: int, where: str) -> None:
    relations = ("left of", "right of", "above", "below")
    pair = position if isinstance(position, list) and len(position) == 2 else (None, None)
    if pair[0] not in relations or pair[1] not in range(clauses):
        raise ValueError(
            f"{where}: position: expected [one of {', '.join(relations)}, the number of a clause], "
            f"got {position!r}"
        )


def check_judges(judges: Judges, items: Sequence[Item]) -> None:
    """Refuse a detector that has no name for a thing asked for, or a classifier without a colour asked for.

    Such a thing would never be found, and every prompt with it would be wrong whatever is drawn. Judges that
    do not say which names they know (`labels`, `palette`) are taken as they are.

    Raises:
        ValueError: which names, and how many prompts have them.
    """
    kinds = (("detector", "labels", "classes", classes_of), ("classifier", "palette", "colours", colors_of))
    for role, attribute, what, of in kinds:
        known = getattr(judges[role], attribute, None)
        if known is None:
            continue
        lacking = [set(of(item.facts)).difference(known) for item in items]
        if names := sorted(set().union(*lacking)):
            raise ValueError(
                f"--{role}: {judges[role].name} knows {len(set(known))} {what}, not {some(names)}, which "
                f"{sum(map(bool, lacking))} of {len(items)} prompts ask for; name one that knows them"
            )


def judge(
    images: Sequence[Image], items: Sequence[Item], judges: Judges, asked: Asked
) -> list[dict[str, Any]]:
    """Return what was found in each picture: everything of the classes that its prompt names.

    Coloured are only those things whose colour the rules look at.
    """
    found = judges["detector"].detect(images)
    return [
        {
            "metadata": dict(item.facts),
            "detections": _described(image, item, each, judges["classifier"], Rules(**asked.rules)),
        }
        for image, item, each in zip(images, items, found, strict=True)
    ]


def _described(
    image: Image, item: Item, found: Detections, classifier: Any, rules: Rules
) -> list[dict[str, Any]]:
    labels = np.array(found.labels, dtype=object)
    places = {name: np.flatnonzero(labels == name) for name in classes_of(item.facts)}
    best = {
        name: where[select(found.boxes[where], found.scores[where], item.facts["tag"], rules)]
        for name, where in places.items()
    }
    colours: dict[int, str] = {}
    for name, count in to_color(item.facts, {name: len(where) for name, where in best.items()}).items():
        where = best[name][:count]
        said = classifier.colors(image, found.boxes[where], found.masks[where], name)
        colours |= dict(zip(where.tolist(), said, strict=True))
    return [
        {
            "class": found.labels[index],
            "box": found.boxes[index].tolist(),
            "score": float(found.scores[index]),
        }
        | ({"color": colours[index]} if index in colours else {})
        for where in places.values()
        for index in where.tolist()
    ]


def collect(records: Sequence[Record], asked: Asked) -> tuple[Sequence[Record], dict[str, Any]]:
    """Return the records under the pictures' names, and how many pictures there should be."""
    metadata = {item.index: dict(item.facts) for item in asked.items}
    named = [
        {"metadata": metadata[each["item"]], **each, "image": f"{each['item']:05d}/{each['sample']:05d}"}
        for each in records
    ]
    prompts = Counter(item.task for item in asked.items)
    size = {"prompts": prompts, "images": asked.samples, "allow_missing": asked.allow_missing}
    return named, size | dict(asked.rules)


def verdict(record: Record, asked: Asked) -> tuple[float, str]:
    """Return 1 for a picture that obeys its prompt, else 0 and what was wrong."""
    if has_failed(record):
        return 0.0, record["failed"]
    said = judge_record({"image": "", **record}, Rules(**asked.rules))
    return float(said.correct), said.reason


GENEVAL = Benchmark(
    name="geneval",
    about="objects, their number, colour and place (arXiv 2310.11513)",
    samples=4,
    layout=LAYOUT,
    read=read,
    scorer="geneval",
    roles={"detector": "detector", "classifier": "colors"},
    judge=judge,
    collect=collect,
    verdict=verdict,
    check=check_judges,
    rules=other_rules,
)
