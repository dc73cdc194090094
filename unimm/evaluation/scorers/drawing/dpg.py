"""DPG-Bench: how many questions about a picture get a "yes", in per cent.

Hu et al. 2024 (ELLA), https://github.com/TencentQQGYLab/ELLA at 3c228f1, dpg_bench/compute_dpg_bench.py. A
question scores 1 if the answer is exactly "yes". Then, in the order of the table, a question of whose parents
one scores 0 at that time is set to 0. A picture is the mean of its questions, a prompt that of its pictures,
"overall" that of the prompts. "L1 ..." and "L2 ..." are means over the questions of a broad and a detailed
category, before anything was set to 0.

Record: {"item_id", "answers": one mapping per picture, from the questions' numbers (as text) to answers}. Or
"failed" in place of the answers.

`official` scores what the script scores in one process. It
  - drops the first row of the table; an item whose questions depend on that one is left out;
  - takes the categories from each item's last picture only;
  - leaves out every item that raises an error: without a picture or a question, or broken.
`fixed` counts every question and every picture, takes what failed for answered "no", and refuses what is
missing or unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.drawing.dpg_questions import Question, read_questions
from unimm.evaluation.scorers.records import count_missing, expect_once, field, has_failed, some
from unimm.evaluation.scorers.scorer import Scorer

PICTURES = 4
"""Per prompt."""

YES, NO = "yes", "no"

Record = Mapping[str, Any]
Questions = Sequence[Question] | str | Path
"""The questions, or the file that they are in."""
Table = Mapping[str, Mapping[int, Question]]
"""Each item's questions by their numbers, in order."""


def official(records: Sequence[Record], questions: Questions, pictures: int = PICTURES) -> Scored:
    """Score as the official script does, and count what it leaves out.

    Args:
        records: one per prompt, in any order.
        questions: the whole table.
        pictures: how many of each prompt are scored, the first ones.

    Raises:
        ValueError: an item twice, a record with too few pictures, or nothing left to score.
    """
    rows = _read(questions)
    table, items = _by_item(rows[1:]), _items(records)
    tally = _Tally()
    for record in records:
        item = record["item_id"]
        if has_failed(record):
            tally.leave_out("prompts with a failed picture")
            continue
        answers = _answers(record, pictures)
        try:
            scores = [score_picture(table[item], each) for each in answers]
        except KeyError:
            tally.leave_out("items that lost a question" if item in table else "items without a question")
            continue
        tally.add(item, [zeroed for _, zeroed in scores], table[item], scores[-1][0])
        tally.count_unparsed(answers, table[item])
    tally.leave_out("first question")
    tally.leave_out("missing items", len({row.item for row in rows} - set(items)))
    return tally.scored(records)


def fixed(
    records: Sequence[Record], questions: Questions, pictures: int = PICTURES, allow_missing: bool = False
) -> Scored:
    """Score every question about every picture.

    Args:
        records: one per prompt, in any order.
        questions: the whole table.
        pictures: how many of each prompt are scored, the first ones.
        allow_missing: score what is there, and count what is not in `left_out`.

    Raises:
        ValueError: an item twice or unknown, a picture or an answer too few, a question that depends on one
            that is not there, or missing items where that is not allowed.
    """
    rows = _read(questions)
    table, items = _by_item(rows), _items(records)
    tally = _Tally()
    tally.leave_out("missing items", count_missing("dpg items", list(table), items, allow_missing))
    tally.leave_out("repeated questions", len(rows) - sum(map(len, table.values())))
    for record in records:
        item = record["item_id"]
        asked = table[item]
        _expect_parents(asked)
        answers = [_nothing(asked)] * pictures if has_failed(record) else _answers(record, pictures)
        for picture in answers:
            _expect_answers(item, asked, picture)
        scores = [score_picture(asked, each) for each in answers]
        raw = [sum(column) / pictures for column in zip(*(raw for raw, _ in scores), strict=True)]
        tally.add(item, [zeroed for _, zeroed in scores], asked, raw)
        tally.count_unparsed(answers, asked)
    return tally.scored(records)


def score_picture(
    questions: Mapping[int, Question], answers: Mapping[str, Any]
) -> tuple[list[float], list[float]]:
    """Return the scores of an item's questions, in [0, 1], before and after dependencies set some to 0.

    Raises:
        KeyError: a question has no answer, or a parent that matters is no question of this item.
    """
    raw = {number: float(answers[str(number)] == YES) for number in questions}
    scores = dict(raw)
    for number, question in questions.items():
        if any(scores[parent] == 0 for parent in question.parents):
            scores[number] = 0.0
    return list(raw.values()), list(scores.values())


def _read(questions: Questions) -> Sequence[Question]:
    rows = read_questions(questions) if isinstance(questions, str | Path) else questions
    if not rows:
        raise ValueError("dpg questions: expected some, got none")
    return rows


def _by_item(rows: Sequence[Question]) -> Table:
    """Return each item's questions; of two with one number the later counts."""
    table: dict[str, dict[int, Question]] = {}
    for row in rows:
        table.setdefault(row.item, {})[row.number] = row
    return table


def _items(records: Sequence[Record]) -> list[str]:
    items = [field(record, "item_id", str, "dpg record") for record in records]
    expect_once("dpg items", items)
    return items


def _answers(record: Record, pictures: int) -> list[Mapping[str, Any]]:
    where = f"dpg record of {record['item_id']}"
    found = field(record, "answers", list, where)
    if pictures < 1 or len(found) < pictures or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{where}: answers: expected mappings for {pictures} pictures, got {len(found)}")
    return found[:pictures]


def _nothing(asked: Mapping[int, Question]) -> dict[str, str]:
    return {str(number): NO for number in asked}


def _expect_parents(asked: Mapping[int, Question]) -> None:
    for question in asked.values():
        lost = [parent for parent in question.parents if parent not in asked]
        if lost:
            raise ValueError(
                f"dpg questions: {question.item}, question {question.number}: expected it to depend on "
                f"questions of its item, got {some(lost)}"
            )


def _expect_answers(item: str, asked: Mapping[int, Question], answers: Mapping[str, Any]) -> None:
    silent = [number for number in asked if str(number) not in answers]
    if silent:
        raise ValueError(
            f"dpg record of {item}: expected answers to questions 1 to {len(asked)}, missing {some(silent)}"
        )


class _Tally:
    """What is counted while going through the records."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.tasks: list[str] = []
        self.groups: list[str] = []
        self.left_out: dict[str, int] = {}
        self.unparsed = 0

    def add(
        self,
        item: str,
        zeroed: Sequence[Sequence[float]],
        asked: Mapping[int, Question],
        raw: Sequence[float],
    ) -> None:
        """Count a prompt: scores per picture and question, and what its questions say of categories."""
        self._count("overall", item, sum(sum(picture) / len(picture) for picture in zeroed) / len(zeroed))
        for question, value in zip(asked.values(), raw, strict=True):
            self._count(f"L1 {question.broad}", item, value)
            self._count(f"L2 {question.detailed}", item, value)

    def _count(self, task: str, item: str, value: float) -> None:
        self.values.append(100 * float(value))
        self.tasks.append(task)
        self.groups.append(item)

    def leave_out(self, reason: str, count: int = 1) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    def count_unparsed(self, answers: Sequence[Mapping[str, Any]], asked: Mapping[int, Question]) -> None:
        said = [picture[str(number)] for picture in answers for number in asked]
        self.unparsed += sum(answer not in (YES, NO) for answer in said)

    def scored(self, records: Sequence[Record]) -> Scored:
        if not self.values:
            raise ValueError(f"dpg: expected something to score, got none; left out: {self.left_out}")
        return Scored(
            values=np.array(self.values),
            tasks=tuple(self.tasks),
            groups=tuple(self.groups),
            unparsed=self.unparsed,
            failed=sum(map(has_failed, records)),
            left_out=self.left_out,
        )


SCORER = Scorer("dpg", 1, {"official": official, "fixed": fixed})
