"""Names looked up in tables: an unknown one is refused, and the nearest known one suggested."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row")


def pick(name: str, kind: str, table: Mapping[str, Row]) -> Row:
    """Return the row of a table; `name` is what the caller calls the choice.

    Raises:
        ValueError: no such kind; the nearest is suggested.
    """
    expect_known(name, kind, table)
    return table[kind]


def expect_known(name: str, kind: str, known: Collection[str]) -> None:
    """Refuse a kind that is not among the known ones.

    Raises:
        ValueError: no such kind; the nearest is suggested.
    """
    if kind not in tuple(known):  # a tuple compares: what cannot be hashed is no kind either
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {kind!r}{suggestion(kind, known)}")


def suggestion(name: Any, known: Collection[str]) -> str:
    """Return "; did you mean ...?" with the known name nearest to this one, or "" where none is near.

    Upper and lower case are one.
    """
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""
