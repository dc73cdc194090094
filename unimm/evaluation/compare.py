"""Two cards of the same prompts and rules: a difference or noise, and the pictures that flipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from unimm.evaluation.bootstrap import Leaf, paired_intervals
from unimm.evaluation.card import aligned, headline, read_card, said
from unimm.evaluation.page import Shown, flat, mark, picture, shell, verdict_class
from unimm.evaluation.session import Measured, measured, shown_of
from unimm.evaluation.whole import write_whole

FLIPPED = 0.5
"""A picture flipped if its own score moved by so much."""
MOST = 120  # flips shown on a page


@dataclass(frozen=True)
class Flip:
    """A picture that one of two got right and the other wrong."""

    place: tuple[int, int]
    before: Shown
    after: Shown


@dataclass(frozen=True)
class Comparison:
    """What compares, and how."""

    before: Measured
    after: Measured
    differences: Mapping[str, Leaf]
    """By how much `after` is above `before`, for every number."""
    flips: tuple[Flip, ...]


def compare(before: Path, after: Path) -> Comparison:
    """Compare two scored folders.

    Raises:
        ValueError: they do not compare, with every reason; or their records changed since.
    """
    reasons = incomparable(read_card(before), read_card(after))
    if reasons:
        raise ValueError(f"{before} and {after} do not compare: {'; '.join(reasons)}")
    one, other = measured(before), measured(after)
    return Comparison(one, other, paired_intervals(one.scored, other.scored), _flips(one, other))


def incomparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return why two cards do not compare; nothing if they do.

    What was measured must be the same: prompts, pictures per prompt, judges, rules. How the pictures were
    drawn is what is compared.
    """
    same = {
        "metric": lambda card: card["metric"],
        "version of the scorer": lambda card: card["scorer"]["version"],
        "prompts (sha256)": lambda card: card["prompts"]["sha256"],
        "prompts used": lambda card: card["prompts"]["used"],
        "what the judge was given": lambda card: card["inputs"],
        "pictures per prompt": lambda card: card["images_per_prompt"],
        "pictures": lambda card: card["n"],
    }
    return [
        f"{name}: {read(one)!r} and {read(other)!r}"
        for name, read in same.items()
        if read(one) != read(other)
    ]


def _flips(one: Measured, other: Measured) -> tuple[Flip, ...]:
    after = {(record["item"], record["sample"]): record for record in other.records}
    flips = []
    for record in one.records:
        place = record["item"], record["sample"]
        if place not in after:
            continue
        scores = [
            side.benchmark.verdict(each, side.asked)[0]
            for side, each in ((one, record), (other, after[place]))
        ]
        if abs(scores[1] - scores[0]) >= FLIPPED:
            flips.append((place, record, after[place]))
    return tuple(
        Flip(
            place,
            shown_of(one.benchmark, one.asked, before, one.pictures.tiles),
            shown_of(other.benchmark, other.asked, later, other.pictures.tiles),
        )
        for place, before, later in flips
    )


def verdict(difference: Leaf) -> str:
    """Return "difference" where the interval leaves zero out, else "noise"."""
    return "difference" if difference.low > 0 or difference.high < 0 else "noise"


def rows_of(found: Comparison) -> list[tuple[str, str, str, str, str]]:
    """Return (score, before, after, difference with its interval, verdict) of every number."""
    card, scale = found.before.card, found.before.card["scale"]
    ones, others = found.before.scored.metrics(), found.after.scored.metrics()
    quoted = headline(card)
    names = [name for name in found.differences if name != quoted]
    return [
        (
            name,
            f"{scale * ones[name]:.1f}",
            f"{scale * others[name]:.1f}",
            said(found.differences[name], scale),
            verdict(found.differences[name]),
        )
        for name in (*names, quoted)
    ]


def table(found: Comparison) -> str:
    """Return the comparison as a table for terminals."""
    head = ("", "before", "after", "after - before", "")
    return "\n".join([*aligned([head, *rows_of(found)], left=(0, 4)), "", summary(found)])


def summary(found: Comparison) -> str:
    """Return what flipped, in a line."""
    better = sum(flip.after.score > flip.before.score for flip in found.flips)
    return (
        f"{found.before.card['metric']}, per cent, n = {found.before.card['n']} pictures of "
        f"{found.before.card['prompts']['used']} prompts; {len(found.flips)} flipped: "
        f"{better} to right, {len(found.flips) - better} to wrong"
    )


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the comparison as a page with the pictures that flipped."""
    head = "<tr><th></th><th>before</th><th>after</th><th>after - before [95 %]</th><th>verdict</th></tr>"
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell.replace('_', ' '))}</td>" for cell in row) + "</tr>"
        for row in rows_of(found)
    )
    title = f"{found.before.card['metric']}: before and after"
    page = f"""<h1>{escape(title)}</h1>
<p>Before: {_name(found.before)}<br>After: {_name(found.after)}</p>
<p class="quiet">{escape(summary(found))}. The same prompts were resampled together (paired bootstrap).</p>
<table>{head}{body}</table>
<h2>Pictures that flipped</h2>
<p class="quiet">{min(MOST, len(found.flips))} of {len(found.flips)}: before on the left.</p>
{_pairs(found)}"""
    return write_whole(path, shell(title, page))


def _name(side: Measured) -> str:
    made = side.card["generation"]
    if made is None:
        return "pictures of another project"
    told = {name: value for name, value in made["sampling"].items() if value is not None}
    words = ", ".join(f"{name} {value}" for name, value in flat(told))
    return escape(f"{made['model']['name']} ({made['model']['weights'][:12]}), {words}, seed {made['seed']}")


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
