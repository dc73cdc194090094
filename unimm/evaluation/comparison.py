"""Two cards side by side: every number with its paired difference, and what flipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.card import aligned, headline, said, scale_of
from unimm.evaluation.page import Shown, mark, picture, shell, verdict_class
from unimm.evaluation.scored import Scored
from unimm.whole import write_whole

FLIPPED = 0.5
"""A picture or an answer flipped if its own score moved by so much."""
MOST = 120  # flips shown on a page


@dataclass(frozen=True)
class Side:
    """One of the two: its card, what its numbers are made of, and what was done, in words."""

    card: Mapping[str, Any]
    scored: Scored
    made: str


@dataclass(frozen=True)
class Flip:
    """What one of two got right and the other wrong."""

    before: Shown
    after: Shown


@dataclass(frozen=True)
class Comparison:
    """What compares, and how."""

    before: Side
    after: Side
    differences: Mapping[str, Leaf]
    """By how much `after` is above `before`, for every number."""
    flips: tuple[Flip, ...]
    of: str
    """Of how many things the numbers are, such as "24 pictures of 24 prompts"."""


Sameness = Mapping[str, Callable[[Mapping[str, Any]], Any]]
"""What must be equal in two cards, by what people call it."""


def incomparable(one: Mapping[str, Any], other: Mapping[str, Any], same: Sameness) -> list[str]:
    """Return why two cards do not compare; nothing if they do."""
    pairs = {name: (read(one), read(other)) for name, read in same.items()}
    return [f"{name}: {a!r} and {b!r}" for name, (a, b) in pairs.items() if a != b]


def flipped(before: float, after: float) -> bool:
    """Return whether a score, in [0, 1], moved far enough to be shown."""
    return abs(after - before) >= FLIPPED


def verdict(difference: Leaf) -> str:
    """Return "difference" where the interval leaves zero out, else "noise"."""
    return "difference" if difference.low > 0 or difference.high < 0 else "noise"


def rows_of(found: Comparison) -> list[tuple[str, str, str, str, str]]:
    """Return (score, before, after, difference with its interval, verdict) of every number."""
    card, rows = found.before.card, []
    ones, others = found.before.scored.metrics(), found.after.scored.metrics()
    quoted = headline(card)
    for name in (*(name for name in found.differences if name != quoted), quoted):
        scale, difference = scale_of(card, name), found.differences[name]
        told = (f"{scale * ones[name]:.1f}", f"{scale * others[name]:.1f}", said(difference, scale))
        rows.append((name, *told, verdict(difference)))
    return rows


def table(found: Comparison) -> str:
    """Return the comparison as a table for terminals."""
    head = ("", "before", "after", "after - before", "")
    return "\n".join([*aligned([head, *rows_of(found)], left=(0, 4)), "", summary(found)])


def summary(found: Comparison) -> str:
    """Return what flipped, in a line."""
    better = sum(flip.after.score > flip.before.score for flip in found.flips)
    unit = "points, accuracies in per cent" if found.before.card.get("scales") else "per cent"
    return (
        f"{found.before.card['metric']}, {unit}, n = {found.of}; {len(found.flips)} flipped: "
        f"{better} to right, {len(found.flips) - better} to wrong"
    )


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the comparison as a page with what flipped."""
    head = (
        '<tr><th></th><th class="number">before</th><th class="number">after</th>'
        '<th class="number">after - before [95 %]</th><th>verdict</th></tr>'
    )
    title = f"{found.before.card['metric']}: before and after"
    page = f"""<h1>{escape(title)}</h1>
<p>Before: {escape(found.before.made)}<br>After: {escape(found.after.made)}</p>
<p class="quiet">{escape(summary(found))}. The same things were resampled together (paired bootstrap).</p>
<table>{head}{"".join(map(_row, rows_of(found)))}</table>
<h2>What flipped</h2>
<p class="quiet">{min(MOST, len(found.flips))} of {len(found.flips)}: before on the left.</p>
{_pairs(found)}"""
    return write_whole(path, shell(title, page))


def _row(cells: tuple[str, str, str, str, str]) -> str:
    name, *numbers, told = (escape(cell.replace("_", " ")) for cell in cells)
    middle = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f"<tr><td>{name}</td>{middle}<td>{told}</td></tr>"


def _pairs(found: Comparison) -> str:
    by_task: dict[str, list[Flip]] = defaultdict(list)
    for flip in found.flips[:MOST]:
        by_task[flip.before.task].append(flip)
    return "\n".join(
        f'<h3>{escape(task.replace("_", " "))}</h3><div class="gallery pairs">'
        f"{''.join(_pair(flip) for flip in members)}</div>"
        for task, members in by_task.items()
    )


def _pair(flip: Flip) -> str:
    words = escape(flip.before.prompt)
    sides = "".join(
        f"<div>{picture(side.image, side.prompt)}<figcaption>{mark(side.score)}"
        f"<small>{escape(side.reason)}</small></figcaption></div>"
        for side in (flip.before, flip.after)
    )
    kind = verdict_class(flip.after.score)
    return f'<figure class="{kind}"><div class="two">{sides}</div><figcaption>{words}</figcaption></figure>\n'
