"""DPG-Bench's table of questions, dpg_bench.csv, read by the names of its columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("item_id", "proposition_id", "dependency", "tuple", "question_natural_language")
"""The columns that are needed; others may be there, and in any order."""


@dataclass(frozen=True)
class Question:
    """One question about the pictures of one prompt."""

    item: str
    """The prompt, as its file is called."""
    number: int
    """Of the question, within its prompt."""
    parents: tuple[int, ...]
    """Numbers of the questions without whose "yes" this one is moot."""
    detailed: str
    """The detailed category (L2), such as "attribute - color"."""
    text: str

    @property
    def broad(self) -> str:
        """The broad category (L1), such as "attribute"."""
        return self.detailed.partition("-")[0].strip()


def read_questions(path: str | Path) -> tuple[Question, ...]:
    """Return the questions of a csv file in its order, which the dependencies follow.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no csv in UTF-8, columns missing, no row, or a row that cannot be read, by its line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"dpg questions: no file at {path}; name dpg_bench.csv of TencentQQGYLab/ELLA"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _expect_columns(path, reader.fieldnames or ())
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected csv in UTF-8, could not read it ({error})") from None
    if not rows:
        raise ValueError(f"{path}: expected questions, found none")
    return tuple(question_of(row, where) for where, row in rows)


def _expect_columns(path: Path, found: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, missing {', '.join(missing)}; "
            f"got {', '.join(found) or 'none'}"
        )
    twice = [name for name in COLUMNS if list(found).count(name) > 1]
    if twice:
        raise ValueError(f"{path}: expected each column once, got {', '.join(twice)} more than once")


def question_of(row: Mapping[str, str | None], where: str) -> Question:
    """Return the question of a row; `where` opens the message.

    Raises:
        ValueError: a field is missing, or numbers are none.
    """
    empty = [name for name in COLUMNS if not (row[name] or "").strip()]
    if empty:
        raise ValueError(f"{where}: expected something under {', '.join(empty)}, got nothing")
    parents = [_number(each, "dependency", where) for each in row["dependency"].split(",")]
    return Question(
        item=row["item_id"].strip(),
        number=_number(row["proposition_id"], "proposition_id", where),
        parents=tuple(parent for parent in parents if parent != 0),
        detailed=row["tuple"].partition("(")[0].strip(),
        text=row["question_natural_language"],
    )


def _number(text: str, column: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{where}: {column}: expected whole numbers, got {text!r}") from None
