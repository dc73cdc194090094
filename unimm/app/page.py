"""The demonstration as one HTML page that stands alone: its pictures are inside it."""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files
from string import Template

from PIL import Image

from unimm.app.files import encode
from unimm.app.installation import CHOOSE_TORCH
from unimm.app.report import Drawing, Exchange, Plan, Report

SHOWN_SIDE = 480  # pixels; small pictures are enlarged smoothly here, so that every browser shows the same


def render(report: Report) -> str:
    """Return the page as HTML text; it asks nothing of the network."""
    return Template(_asset("page.html")).substitute(
        style=_asset("page.css"),
        model=escape(report.model),
        seconds=f"{report.seconds:.0f}",
        best_of=report.plan.best_of,
        cards="\n".join(_card(drawing) for drawing in report.drawings),
        talk="\n".join(_turn(exchange) for exchange in report.exchanges),
        facts="\n".join(_pair(name, value) for name, value in (_sampling(report.plan), *report.facts)),
        note=escape(CHOOSE_TORCH),
    )


def _asset(name: str) -> str:
    return files("unimm.app").joinpath(name).read_text(encoding="utf-8")


def _sampling(plan: Plan) -> tuple[str, str]:
    return "Sampling", f"{plan.steps} steps, best of {plan.best_of} by {plan.verifier}, seed {plan.seed}"


def _pair(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _card(drawing: Drawing) -> str:
    answers = "\n".join(_pair(question, answer) for question, answer in drawing.answers)
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
    bars = "".join(_bar(drawing, index, low, high) for index in range(len(drawing.scores)))
    said = f"scores of {len(drawing.scores)} candidates; number {drawing.winner + 1} won with {high:.3f}"
    return f"""<div><div class="bars" role="img" aria-label="{said}">{bars}</div>
<div class="legend"><span>won: <b>{high:.2f}</b></span><span>lowest: {low:.2f}</span>
<span>{drawing.seconds:.1f} s</span></div></div>"""


def _bar(drawing: Drawing, index: int, low: float, high: float) -> str:
    score, won = drawing.scores[index], " class=won" if index == drawing.winner else ""
    height = 12 + 88 * (score - low) / ((high - low) or 1.0)  # percent; the lowest stays visible
    return f'<i{won} style="height:{height:.0f}%" title="candidate {index + 1}: {score:.3f}"></i>'


def _turn(exchange: Exchange) -> str:
    pictures = "".join(_picture(image, "a picture drawn in the conversation") for image in exchange.images)
    said, text = escape(exchange.said), escape(exchange.text)
    return f'<div class="bubble user">{said}</div>\n<div class="bubble model">{pictures}{text}</div>'


def _picture(image: Image.Image, alt: str) -> str:
    scale = SHOWN_SIDE / max(image.size)
    if scale > 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    data = base64.b64encode(encode(image)).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" {size}>'
