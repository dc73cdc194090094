"""The demonstration as one HTML page that stands alone: its pictures are inside it and it asks nothing of the network."""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files

from PIL import Image

from unimm.app.files import encode
from unimm.app.installation import CHOOSE_TORCH
from unimm.app.report import Drawing, Exchange, Report

SHOWN_SIDE = 480  # pixels; small pictures are enlarged smoothly here, so that every browser shows the same


def render(report: Report) -> str:
    """Return the page as HTML text."""
    cards = "\n".join(_card(drawing) for drawing in report.drawings)
    talk = "\n".join(_turn(exchange) for exchange in report.exchanges)
    facts = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in report.facts
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>unimm: what {escape(report.model)} drew</title>
<link rel="icon" href="data:,">
<style>
{files("unimm.app").joinpath("page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>One model that draws, looks and talks</h1>
<p class="quiet">Everything below was made by <code>{escape(report.model)}</code> on this machine in {report.seconds:.0f} seconds.</p>
</header>
<section>
<h2>Drawn, then checked</h2>
<p>For each prompt the model made {report.best_of} candidates, asked itself of each, before any was turned into pixels, whether
it shows the prompt, and decoded only the winner. The bars are the {report.best_of} scores. Below them the model describes its picture
and answers questions about it.</p>
<div class="gallery">
{cards}
</div>
</section>
<section>
<h2>A conversation</h2>
<div class="talk">
{talk}
</div>
</section>
<section>
<h2>How it was made</h2>
<dl class="facts">
<div><dt>Sampling</dt><dd>{report.steps} steps, best of {report.best_of} by <code>{escape(report.verifier)}</code>, seed {report.seed}</dd></div>
{facts}
</dl>
<p class="quiet" style="margin-top:1rem">{escape(CHOOSE_TORCH)}</p>
</section>
</main>
</body>
</html>
"""


def _card(drawing: Drawing) -> str:
    answers = "\n".join(
        f"<div><dt>{escape(question)}</dt><dd>{escape(answer)}</dd></div>"
        for question, answer in drawing.answers
    )
    return f"""<article class="card">
{_picture(drawing.image, drawing.prompt)}
<h3>{escape(drawing.prompt)}</h3>
{_bars(drawing)}
<blockquote>{escape(drawing.caption)}</blockquote>
<dl>{answers}</dl>
</article>"""


def _bars(drawing: Drawing) -> str:
    """Return one bar per candidate, from the lowest score to the highest, the winner in colour."""
    low, high = min(drawing.scores), max(drawing.scores)
    span = (high - low) or 1.0
    bars = "".join(
        f'<i{" class=won" if index == drawing.winner else ""} style="height:{12 + 88 * (score - low) / span:.0f}%" '
        f'title="candidate {index + 1}: {score:.3f}"></i>'
        for index, score in enumerate(drawing.scores)
    )
    count = len(drawing.scores)
    said = f"scores of {count} candidates; number {drawing.winner + 1} won with {high:.3f}"
    return (
        f'<div><div class="bars" role="img" aria-label="{said}">{bars}</div>'
        f'<div class="legend"><span>won: <b>{high:.2f}</b></span><span>lowest: {low:.2f}</span>'
        f"<span>{drawing.seconds:.1f} s</span></div></div>"
    )


def _turn(exchange: Exchange) -> str:
    pictures = "".join(_picture(image, "a picture drawn in the conversation") for image in exchange.images)
    text = escape(exchange.text)
    return f'<div class="bubble user">{escape(exchange.said)}</div>\n<div class="bubble model">{pictures}{text}</div>'


def _picture(image: Image.Image, alt: str) -> str:
    scale = SHOWN_SIDE / max(image.size)
    if scale > 1:
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
        )
    data = base64.b64encode(encode(image)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{image.width}" height="{image.height}">'
