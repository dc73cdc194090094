"""What the doctor found, as a page that stands alone: its pictures are inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from unimm.data.doctor import Shown
from unimm.data.doctor_masks import DRAWN, KINDS, SEEN, Piece, printable
from unimm.data.doctor_report import Report, faults_of, healthy, lines_of


def page_of(report: Report, shown: Sequence[Shown]) -> str:
    """Return the page as HTML text; it asks nothing of the network."""
    style = files("unimm.data").joinpath("doctor.css").read_text(encoding="utf-8")
    faults = faults_of(report)
    facts = [line for line in lines_of(report) if line not in faults]
    verdict = "Nothing is wrong with what was checked." if healthy(report) else "Something is wrong."
    wrong = f"<h2>What is wrong</h2>\n{_list(faults)}" if faults else ""
    legend = " ".join(f'<span class="{name}">{escape(text)}</span>' for name, text in KINDS.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_said(report["path"])}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<main>
<h1>{_said(report["path"])}</h1>
<p class="{"well" if healthy(report) else "ill"}">{verdict}</p>
{_list(facts)}
{wrong}
<h2>As they are trained on</h2>
<p class="legend">{legend}</p>
{"".join(_card(each) for each in shown)}
</main>
</body>
</html>
"""


def _list(lines: Sequence[tuple[str, str]]) -> str:
    pairs = "".join(f"<dt>{_said(name)}</dt><dd>{_said(text)}</dd>" for name, text in lines)
    return f"<dl>{pairs}</dl>"


def _card(shown: Shown) -> str:
    waiting = iter(shown.thumbnails)
    pieces = "".join(_piece(piece, waiting) for piece in shown.mask)
    return f'<article><h3>{_said(shown.key)}</h3><div class="mask">{pieces}</div></article>\n'


def _piece(piece: Piece, waiting: Any) -> str:
    picture = _picture(next(waiting), piece.text) if piece.kind in (SEEN, DRAWN) else ""
    return f'<span class="{piece.kind}">{picture}{_said(piece.text)}</span>'


def _picture(image: Any, alt: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/png;base64,{data}" alt="{_said(alt)}" {size}>'


def _said(text: str) -> str:
    return escape(printable(str(text)))
