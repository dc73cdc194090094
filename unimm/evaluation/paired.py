"""Two sides on the same items, right or wrong: one row of a card, its JSON, the table."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from unimm.evaluation.bootstrap import Leaf, interval, paired_gain
from unimm.evaluation.world.card import said

Card = dict[str, dict[str, Leaf]]


def paired_row(before: np.ndarray, after: np.ndarray) -> dict[str, Leaf]:
    """Return before, after, gain and win rate of items [n] that are right (1) or wrong (0).

    "win_rate" is the share of items on which `after` is right and `before` wrong; those on which both are
    alike count half.

    Raises:
        ValueError: the two differ in length, or nothing was measured.
    """
    one, two = np.asarray(before, np.float64), np.asarray(after, np.float64)
    gain = paired_gain(one, two)
    won = interval((1 + two - one) / 2)
    return {"before": interval(one), "after": interval(two), "gain": gain, "win_rate": won}


def as_json(card: Card) -> dict[str, Any]:
    """Return the card with {"mean", "low", "high", "n"} at every leaf."""
    return {title: {name: leaf.to_dict() for name, leaf in row.items()} for title, row in card.items()}


def show(card: Card, title: str) -> None:
    """Print the card; 95 % intervals in brackets."""
    table = Table("", "n", "before", "after", "gain, points", "wins, %, ties half", title_justify="left")
    table.title = title
    for name, row in card.items():
        table.add_row(name.replace("_", " "), str(row["gain"].n), *(said(leaf) for leaf in row.values()))
    Console(width=None if Console().is_terminal else 140).print(table)
