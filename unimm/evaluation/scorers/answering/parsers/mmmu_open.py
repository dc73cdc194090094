"""MMMU's reader and matcher of open answers.

Source: https://github.com/MMMU-Benchmark/MMMU (bb0b95a, `mmmu/utils/eval_utils.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Value = str | float

_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_GROUPED = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")


def parse(answer: str) -> set[Value]:
    """Return what an open answer may mean: tails of its lines after words such as "is", and its numbers."""
    tails = _tails(answer)
    numbers = [
        number for tail in tails for form in (_GROUPED, _SCIENTIFIC, _SIMPLE) for number in form.findall(tail)
    ]
    return {value for text in [*tails, *numbers] for value in normal(text)}


def normal(text: str) -> list[Value]:
    """Return a number rounded to two decimals, or lower-case text; one character gets a space beside it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def matches(parsed: set[Value], gold: str | Sequence[str]) -> bool:
    """Return whether a right answer is part of a text, or equals a number, that was parsed."""
    golds = [gold] if isinstance(gold, str) else gold
    right = [value for each in golds for value in normal(each)]
    texts = [value for value in right if isinstance(value, str)]
    return any(
        any(text in value for text in texts) if isinstance(value, str) else value in right for value in parsed
    )


def _tails(answer: str) -> list[str]:
    """Return the shortest tail of each line after an indicator; the whole answer if no line has one.

    The official split at sentences never fires: it looks for capitals in lower-case text.
    """
    whole = answer.strip().strip(".").lower()
    lines = whole.split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        indicators = (*_INDICATORS, "=") if number == len(lines) else _INDICATORS
        shortest = _shortest_tail(line, indicators)
        if shortest and shortest not in _TRIVIAL:
            found.append(shortest)
    return found or [whole]


def _shortest_tail(line: str, indicators: Sequence[str]) -> str:
    """Return the shortest; an empty one is forgotten as soon as another indicator follows, as upstream."""
    shortest = ""
    for indicator in indicators:
        if indicator in line:
            tail = line.split(indicator)[-1].strip()
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest
