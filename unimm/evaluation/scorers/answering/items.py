"""Records of answers, checked: what every scorer here reads.

A record is a mapping (a line of JSON) with

- `id`: text or a whole number, of this question alone;
- `prediction`: what the model said, text; or `error`: why there is no answer (a picture that cannot be read),
  which counts as wrong and as failed;
- `gold`: the right answer: an option's letter, "yes" or "no", a text, or a list of texts, as the scorer says;
- `image`: what the question is about, the same for questions that stand and fall together; the id if absent;
- `category`: the subtask, if the scorer has subtasks;
- `options`: of a choice, the list of texts, A first.

Further fields are the scorer's own, or not read.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
Gold = Callable[[Any], Any]
"""Checks what stands under `gold` and returns it in the form compared; a ValueError says what is expected."""

LETTERS = string.ascii_uppercase
FEWEST_OPTIONS = 4
"""Assumed where a record does not list its options: A to D."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question and the answer to it."""

    id: str
    prediction: str
    """ "" where it failed."""
    gold: Any
    image: str
    category: str
    """ "" where the record has none."""
    options: Mapping[str, str]
    """Texts by letter; "" for every text where the record does not list them."""
    failed: bool
    record: Record


def read_items(records: Sequence[Record], gold: Gold) -> tuple[Item, ...]:
    """Return records as items.

    Raises:
        ValueError: no records; a record that lacks a field, has one of another kind, or another's id.
    """
    items = tuple(_item(number, record, gold) for number, record in enumerate(records, 1))
    if not items:
        raise ValueError("records: expected one or more answers, got none")
    if len({item.id for item in items}) != len(items):
        seen: set[str] = set()
        for number, item in enumerate(items, 1):
            if item.id in seen:
                raise ValueError(f"record {number}: the id {item.id!r} stands twice; keep one answer of each")
            seen.add(item.id)
    return items


def _item(number: int, record: Record, gold: Gold) -> Item:
    where = f"record {number}"
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected named fields, got {type(record).__name__}")
    own = _name(record, "id", where)
    where = f"{where} (id {own!r})"
    if record.get("gold") is None:
        raise ValueError(f"{where}: expected the right answer under 'gold', got none")
    try:
        right = gold(record["gold"])
    except ValueError as error:
        raise ValueError(f"{where}: gold: {error}") from None
    failed = bool(record.get("error"))
    prediction = "" if failed else record.get("prediction")
    if not isinstance(prediction, str):
        raise ValueError(f"{where}: prediction: expected text, got {type(prediction).__name__}")
    options = _options(record.get("options"), where)
    if gold is letter and right not in options:
        raise ValueError(
            f"{where}: gold: expected one of {', '.join(options)}, got {right!r}; give the record its options"
        )
    image = own if record.get("image") is None else _name(record, "image", where)
    category = "" if record.get("category") is None else _name(record, "category", where)
    return Item(own, prediction, right, image, category, options, failed, record)


def _name(record: Record, field: str, where: str) -> str:
    value = record.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{where}: {field}: expected text or a whole number, got {value!r}")
    return str(value)


def _options(options: Any, where: str) -> Mapping[str, str]:
    if options is None:
        return _UNLISTED
    if isinstance(options, str) or not isinstance(options, Sequence):
        raise ValueError(f"{where}: options: expected a list of texts, got {type(options).__name__}")
    if not 0 < len(options) <= len(LETTERS):
        raise ValueError(f"{where}: options: expected 1 to {len(LETTERS)}, got {len(options)}")
    if not all(isinstance(option, str) for option in options):
        raise ValueError(f"{where}: options: expected texts, got {options!r}")
    return dict(zip(LETTERS, options, strict=False))


_UNLISTED: Mapping[str, str] = dict.fromkeys(LETTERS[:FEWEST_OPTIONS], "")


def letter(value: Any) -> str:
    """Return an option's letter in upper case."""
    if not isinstance(value, str) or len(value.strip()) != 1 or value.strip().upper() not in LETTERS:
        raise ValueError(f"expected an option's letter, got {value!r}")
    return value.strip().upper()


def yes_or_no(value: Any) -> str:
    """Return "yes" or "no"."""
    text = value.strip().rstrip(".").lower() if isinstance(value, str) else value
    if text not in ("yes", "no"):
        raise ValueError(f"expected yes or no, got {value!r}")
    return text


def text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return one or more texts; a single one may stand alone."""
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not values or not all(isinstance(each, str) for each in values):
        raise ValueError(f"expected a text or a list of texts, got {value!r}")
    return tuple(values)


def ten_texts(value: Any) -> tuple[str, ...]:
    """Return the texts of ten annotators."""
    values = texts(value)
    if len(values) != 10:
        raise ValueError(f"expected the answers of 10 annotators, got {len(values)}")
    return values
