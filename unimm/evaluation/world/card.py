"""The score card: everything that was measured, as numbers to keep and as a table to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.world.settings import COUNTS, VERIFIERS
from unimm.world.spec import FAMILIES

Card = Mapping[str, Any]  # nested mappings whose leaves are `Leaf`s

# The rows below the families: title, place in the card, unit.
_ROWS = (
    ("ceiling: true pictures passed on", ("ceiling",), "%"),
    ("questions about renders", ("vqa",), "%"),
    ("claims about renders", ("claims",), "%"),
    ("captions of renders", ("caption",), "%"),
    ("self-agreement on own drawings", ("self_agreement",), "%"),
    ("reconstruction of renders", ("psnr",), "dB"),
)


def as_json(card: Any) -> Any:
    """Return the card with {"mean", "low", "high", "n"} at every leaf."""
    if isinstance(card, Leaf):
        return card.to_dict()
    return {str(key): as_json(value) for key, value in card.items()}


def said(leaf: Leaf, unit: str = "%") -> str:
    """Return e.g. '85.0 [82.1, 87.8]'."""
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    mean, low, high = (f"{scale * value:.{digits}f}" for value in (leaf.mean, leaf.low, leaf.high))
    return f"{mean} [{low}, {high}]"


def show(card: Card, console: Console) -> None:
    """Print the card; 95 % intervals in brackets, n in the columns' heads or beside."""
    for table in (_families(card), _rest(card), _kinds(card), _curve(card)):
        console.print(table)


def _families(card: Card) -> Table:
    columns = {"held in": card["held_in"], "held out": card["held_out"]}
    columns |= {
        f"{name}, shuffled": card["shuffled"][key]
        for name, key in zip(columns, card["shuffled"], strict=True)
    }
    title = f"Drawings that obey their prompt, % (n = {card['held_in']['overall'].n} per split)"
    table = Table("", *columns, title=title, title_justify="left")
    for family in (*FAMILIES, "overall"):
        if family == "overall":
            table.add_section()
        table.add_row(family.replace("_", " "), *(said(column[family]) for column in columns.values()))
    return table


def _rest(card: Card) -> Table:
    table = Table("", "score", "n", title="Seeing, and passing on", title_justify="left")
    for title, path, unit in _ROWS:
        leaf = card
        for key in path:
            leaf = leaf[key]
        table.add_row(f"{title}, {unit}", said(leaf, unit), str(leaf.n))
    return table


def _kinds(card: Card) -> Table:
    table = Table("kind", "right, %", "n", title="Questions by kind", title_justify="left")
    for kind, leaf in card["vqa_by_kind"].items():
        table.add_row(kind.replace("_", " "), said(leaf), str(leaf.n))
    return table


def _curve(card: Card) -> Table:
    number = card["best_of"][VERIFIERS[0]]["1"].n
    heads = [f"best of {n}" for n in COUNTS]
    table = Table("verifier", *heads, title=f"Best of N, % (n = {number})", title_justify="left")
    for name in VERIFIERS:
        table.add_row(name, *(said(card["best_of"][name][str(n)]) for n in COUNTS))
    table.add_row("oracle", *(said(card["oracle"][str(n)]) for n in COUNTS))
    table.add_section()
    for name in VERIFIERS:
        gains = [f"{said(card[f'gain_best_of_{n}'][name])}" for n in COUNTS[1:]]
        table.add_row(f"gain by {name}", "", *gains)
    return table
