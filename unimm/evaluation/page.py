"""Cards as pages that stand alone: numbers, facts and pictures in one HTML file."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from PIL import Image

from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.card import headline, leaf_of, notes, rows_of, said, scale_of

SIDE = 240  # pixels; larger pictures are shrunk, so that a page of hundreds stays small
PER_TASK = 24  # pictures shown


@dataclass(frozen=True)
class Shown:
    """A picture and what was thought of it."""

    image: Image.Image | None
    """None where it could not be opened."""
    prompt: str
    task: str
    score: float
    """In [0, 1]."""
    reason: str


def card_page(card: Mapping[str, Any], shown: Sequence[Shown], total: int) -> str:
    """Return the page of a card as HTML text; it asks nothing of the network.

    Args:
        card: `make_card(...)`.
        shown: some of the pictures.
        total: how many there are.
    """
    quoted = headline(card)
    body = f"""<h1>{escape(card["metric"])}</h1>
<p class="quiet">{escape(_made_by(card))}</p>
<p class="big">{said(leaf_of(card, quoted), scale_of(card, quoted))}</p>
<p class="quiet">{escape(quoted)}, per cent, with its 95 % interval</p>
{"".join(f"<p>{escape(line)}</p>" for line in notes(card))}
<h2>Scores</h2>
{score_table(card)}
<h2>Pictures</h2>
<p class="quiet">{len(shown)} of {total}.</p>
{_galleries(shown)}
<h2>How it was made and measured</h2>
{facts_list(card)}"""
    return shell(card["metric"], body)


def shell(title: str, body: str) -> str:
    """Return a whole page."""
    style = files("unimm.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def score_table(card: Mapping[str, Any]) -> str:
    """Return every score with its interval, as numbers and as a bar."""
    rows = []
    for name, leaf in rows_of(card):
        kind = ' class="total"' if name == headline(card) else ""
        rows.append(
            f"<tr{kind}><td>{escape(name.replace('_', ' '))}</td>"
            f'<td class="number">{said(leaf, scale_of(card, name))}</td>'
            f"<td>{_bar(leaf, scale_of(card, name))}</td>"
            f'<td class="number">{leaf.n}</td></tr>'
        )
    unit = "per cent" if card["scale"] == 100 or "scales" not in card else "points, accuracies in per cent"
    head = f'<tr><th>task</th><th class="number">{unit} [95 %]</th><th></th><th class="number">n</th></tr>'
    return f"<table>{head}{''.join(rows)}</table>"


def _bar(leaf: Leaf, scale: float) -> str:
    if scale * leaf.high > 100:  # points, whose full marks differ from row to row
        return ""
    low, mean, high = (min(100.0, max(0.0, scale * value)) for value in (leaf.low, leaf.mean, leaf.high))
    return (
        f'<div class="track"><i style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<b style="left:{mean:.2f}%"></b></div>'
    )


def _made_by(card: Mapping[str, Any]) -> str:
    made = card["generation"]
    if made is None:
        return "pictures of another project; how they were drawn is not known"
    model = made["model"]
    return f"{model['name']}, weights {model['weights'][:12]}, {made['sampling']['steps']} steps"


def _galleries(shown: Sequence[Shown]) -> str:
    by_task: dict[str, list[Shown]] = defaultdict(list)
    for each in shown:
        by_task[each.task].append(each)
    return "\n".join(
        f"<h3>{escape(task.replace('_', ' '))}</h3>{gallery(members)}" for task, members in by_task.items()
    )


def gallery(shown: Sequence[Shown]) -> str:
    """Return pictures side by side, each with its prompt and what was thought of it."""
    return f'<div class="gallery">{"".join(map(_figure, shown))}</div>'


def _figure(shown: Shown) -> str:
    words = f"{mark(shown.score)} {escape(shown.prompt)}<small>{escape(shown.reason)}</small>"
    shape = picture(shown.image, shown.prompt)
    return f'<figure class="{verdict_class(shown.score)}">{shape}<figcaption>{words}</figcaption></figure>\n'


def verdict_class(score: float) -> str:
    """Return the class of a picture's frame and mark."""
    return "right" if score >= 0.5 else "wrong"


def mark(score: float) -> str:
    """Return a tick, a cross, or a per cent between them."""
    sign = {1.0: "&#10003;", 0.0: "&#10007;"}.get(score, f"{100 * score:.0f} %")
    return f'<span class="mark {verdict_class(score)}">{sign}</span>'


def picture(image: Image.Image | None, alt: str) -> str:
    """Return a picture inside the page; a place for it where there is none."""
    if image is None:
        return '<p class="quiet">cannot be shown</p>'
    if max(image.size) > SIDE:
        image = image.copy()
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    kind = "png" if max(image.size) <= SIDE // 2 else "jpeg"  # small ones are kept exact
    image.save(buffer, format=kind)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(alt)}">'


def facts_list(value: Mapping[str, Any]) -> str:
    """Return everything a card says but its scores, a line each."""
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in flat({key: part for key, part in value.items() if key != "scores"})
    )
    return f"<dl>{pairs}</dl>"


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as lines: ("sampling.steps", "50")."""
    lines: list[tuple[str, str]] = []
    for name, part in value.items():
        if isinstance(part, Mapping) and part:
            lines += flat(part, f"{prefix}{name}.")
        else:
            lines.append((prefix + name, _worded(part)))
    return lines


def _worded(part: Any) -> str:
    if part is None:
        return "none"
    if isinstance(part, bool):
        return "yes" if part else "no"
    if isinstance(part, Mapping):
        return "none"
    return ", ".join(map(str, part)) if isinstance(part, list) else str(part)
