"""GenEval: whether drawn objects are there, in the right number, colour and place. Fractions in [0, 1].

Rules: `geneval_rules`. Summary: Ghosh et al. 2023, https://github.com/djghosh13/geneval at af4902f,
evaluation/summary_scores.py. 553 prompts in six tasks, four pictures each; "overall" is the unweighted mean
of the six tasks, each the mean over its pictures.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.drawing.geneval_rules import Found, Rules, Verdict, classes_of, judge, select
from unimm.evaluation.scorers.records import expect_once, field, has_failed, some
from unimm.evaluation.scorers.scorer import Scorer
from unimm.tables import expect_known

PROMPTS: Mapping[str, int] = {
    "single_object": 80,
    "two_object": 99,
    "counting": 80,
    "colors": 94,
    "position": 100,
    "color_attr": 100,
}
"""The six tasks and how many prompts each has."""

IMAGES = 4
"""Pictures per prompt."""


class Row(NamedTuple):
    """A picture judged."""

    image: str
    tag: str
    prompt: str
    """The benchmark's line about the prompt, in one spelling; the official summary groups by it."""
    correct: bool


def score_detections(records: Sequence[Mapping[str, Any]], **options: Any) -> Scored:
    """Score pictures by what was found in them.

    Record: {"image": a name that no other record has, "metadata": the benchmark's line about the prompt,
    "detections": [{"class", "box": [x1, y1, x2, y2], "score"[, "color"]}]}; the detections are unfiltered,
    and those that `geneval_rules.to_color` asks for have a colour. Or "failed" in place of the detections.

    Args:
        records: one per picture, in any order.
        options: fields of `Rules`, and what `summarise` takes.

    Raises:
        ValueError: a record that cannot be read, and what `summarise` refuses.
    """
    rules = Rules(**{each.name: options.pop(each.name) for each in fields(Rules) if each.name in options})
    return summarise(_rows(records, lambda record: judge_record(record, rules).correct), **options)


def score_verdicts(records: Sequence[Mapping[str, Any]], **options: Any) -> Scored:
    """Score pictures that were judged elsewhere: the lines of the official script's results.

    Record: {"image" or "filename": a name that no other record has, "metadata": as a mapping or as JSON text,
    "correct": bool}. Or "failed" in place of "correct".

    Args:
        records: one per picture, in any order.
        options: what `summarise` takes.

    Raises:
        ValueError: a record that cannot be read, and what `summarise` refuses.
    """
    return summarise(_rows(records, lambda record: field(record, "correct", bool, _where(record))), **options)


def _rows(
    records: Sequence[Mapping[str, Any]], correct: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[Row], int]:
    """Return the pictures judged, and how many of them could not be."""
    rows = []
    for record in records:
        metadata, where = metadata_of(record), _where(record)
        tag = field(metadata, "tag", str, f"{where}: metadata")
        expect_known(f"{where}: tag", tag, PROMPTS)
        right = not has_failed(record) and correct(record)
        rows.append(Row(_image(record), tag, json.dumps(metadata, sort_keys=True), right))
    return rows, sum(map(has_failed, records))


def _image(record: Mapping[str, Any]) -> str:
    return field(record, "image" if "image" in record else "filename", str, "geneval record")


def _where(record: Mapping[str, Any]) -> str:
    return f"geneval record of {_image(record)}"


def metadata_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the benchmark's line about a record's prompt.

    Raises:
        ValueError: there is none, or text that is no JSON object.
    """
    found = field(record, "metadata", (dict, str), _where(record))
    try:
        metadata = json.loads(found) if isinstance(found, str) else found
    except ValueError as error:
        raise ValueError(f"{_where(record)}: metadata: expected JSON, got {found!r} ({error})") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{_where(record)}: metadata: expected a JSON object, got {found!r}")
    return metadata


def judge_record(record: Mapping[str, Any], rules: Rules) -> Verdict:
    """Return the verdict on a record's picture, from its detections."""
    metadata = metadata_of(record)
    return judge(metadata, kept(record, metadata, rules), rules)


def kept(record: Mapping[str, Any], metadata: Mapping[str, Any], rules: Rules) -> dict[str, Found]:
    """Return what the rules keep of a record's detections, of the classes that its prompt names."""
    where = _where(record)
    by_class: dict[str, list[Mapping[str, Any]]] = {name: [] for name in classes_of(metadata)}
    for detection in field(record, "detections", list, where):
        name = detection.get("class")
        if name in by_class:
            by_class[name].append(detection)
        elif not isinstance(name, str):
            raise ValueError(f"{where}: expected detections with a class, got {detection}")
    return {
        name: _kept(detections, metadata["tag"], rules, where)
        for name, detections in by_class.items()
        if detections
    }


def _kept(detections: Sequence[Mapping[str, Any]], tag: str, rules: Rules, where: str) -> Found:
    rows = [(*each.get("box", ()), each.get("score")) for each in detections]
    for row, detection in zip(rows, detections, strict=True):
        if len(row) != 5 or not all(type(number) in (float, int) for number in row):
            raise ValueError(f"{where}: expected a box of 4 numbers and a score, got {detection}")
    table = np.array(rows, np.float64)
    if not np.isfinite(table).all():
        raise ValueError(f"{where}: expected finite boxes and scores, got {list(detections)}")
    order = select(table[:, :4], table[:, 4], tag, rules)
    return Found(table[order, :4], [detections[index].get("color") for index in order])


def summarise(
    judged: tuple[Sequence[Row], int],
    prompts: Mapping[str, int] = PROMPTS,
    images: int = IMAGES,
    allow_missing: bool = False,
) -> Scored:
    """Return the tasks' values and those of two more, and "overall" where all six tasks are there.

    "image_accuracy" is over all pictures; in "prompt_accuracy" a prompt is right if any of its pictures is.

    Args:
        judged: the pictures, and how many of them could not be judged and count as wrong.
        prompts: how many each task has.
        images: how many each prompt has.
        allow_missing: score what is there, and count what is not in `left_out`.

    Raises:
        ValueError: nothing to score, a picture twice, more than the benchmark has, or something missing that
            was not allowed.
    """
    rows, failed = judged
    if not rows:
        raise ValueError("geneval: expected records, got none")
    expect_once("geneval pictures", [row.image for row in rows])
    missing = _count_missing(rows, prompts, images, allow_missing)
    right: dict[str, bool] = defaultdict(bool)
    for row in rows:
        right[row.prompt] |= row.correct
    correct = [row.correct for row in rows]
    shown = [row.prompt for row in rows]
    return Scored(
        values=np.array([*correct, *correct, *right.values()], np.float64),
        tasks=(
            *(row.tag for row in rows),
            *["image_accuracy"] * len(rows),
            *["prompt_accuracy"] * len(right),
        ),
        groups=(*shown, *shown, *right),
        combine=_overall,
        failed=failed,
        left_out={"missing pictures": missing} if missing else {},
    )


def _overall(means: Totals) -> Totals:
    """Return the mean of the six tasks; of fewer it would be another number."""
    if not all(task in means for task in PROMPTS):
        return {}
    return {"overall": np.mean([means[task] for task in PROMPTS], axis=0)}


def _count_missing(rows: Sequence[Row], prompts: Mapping[str, int], images: int, allow_missing: bool) -> int:
    """Return how many pictures are not there.

    Raises:
        ValueError: too many, or too few where that is not allowed.
    """
    each = Counter(row.prompt for row in rows)
    have = Counter({row.prompt: row.tag for row in rows}.values())
    wanted = {task: prompts.get(task, 0) for task in PROMPTS}
    many = [prompt for prompt, count in each.items() if count > images]
    wrong = [
        f"{task}: {have[task]} of {count} prompts" for task, count in wanted.items() if have[task] > count
    ]
    if many or wrong:
        raise ValueError(
            f"geneval: expected at most {_sizes(wanted, images)}, got "
            f"{'; '.join(wrong) or f'more than {images} of {_texts(many)}'}"
        )
    few = [prompt for prompt, count in each.items() if count < images]
    short = [
        f"{task}: {have[task]} of {count} prompts" for task, count in wanted.items() if have[task] < count
    ]
    if (few or short) and not allow_missing:
        holes = [f"fewer pictures of {_texts(few)}"] if few else []
        raise ValueError(
            f"geneval: expected {_sizes(wanted, images)}, got {'; '.join(short + holes)}; "
            f"score what is there with allow_missing"
        )
    return sum(wanted.values()) * images - len(rows)


def _texts(prompts: Sequence[str]) -> str:
    """Return the first prompts, given as their metadata, and how many more there are."""
    return some([json.loads(each).get("prompt", each) for each in prompts])


def _sizes(prompts: Mapping[str, int], images: int) -> str:
    return f"{sum(prompts.values())} prompts with {images} pictures each"


SCORER = Scorer("geneval", 1, {"official": score_detections, "verdicts": score_verdicts})
