"""The demonstration as one picture: a contact sheet."""

from __future__ import annotations

import textwrap

from PIL import Image, ImageDraw, ImageFont

from unimm.app.report import Drawing

SIDE, GAP, TEXT = (
    300,
    36,
    104,
)  # pixels: a picture's side, the space around it, the height of the words below it
PAPER, INK, QUIET, BAR, ACCENT = "#faf8f4", "#22201c", "#6f6a61", "#d8d2c6", "#c4502e"
LINE = 34  # characters of a prompt that fit under a picture


def contact_sheet(drawings: tuple[Drawing, ...], columns: int = 3) -> Image.Image:
    """Return all drawings on one sheet, each with its prompt and the scores of its candidates.

    Raises:
        ValueError: there is nothing to show.
    """
    if not drawings:
        raise ValueError("contact sheet: expected at least one drawing, got none")
    columns = min(columns, len(drawings))
    rows = -(-len(drawings) // columns)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * (SIDE + TEXT + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, drawing in enumerate(drawings):
        left = GAP + (index % columns) * (SIDE + GAP)
        top = GAP + (index // columns) * (SIDE + TEXT + GAP)
        sheet.paste(drawing.image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
        _bars(pen, drawing, left, top + SIDE + 30)
        lines = textwrap.wrap(drawing.prompt, LINE)[:3]
        font = ImageFont.load_default(size=17)
        for row, line in enumerate(lines):
            pen.text((left, top + SIDE + 40 + 22 * row), line, fill=INK, font=font)
    return sheet


def _bars(pen: ImageDraw.ImageDraw, drawing: Drawing, left: int, bottom: int) -> None:
    """Draw the candidates' scores as small bars that stand on `bottom`, the winner in colour."""
    low, high = min(drawing.scores), max(drawing.scores)
    span = (high - low) or 1.0
    width = min(14, SIDE // (2 * len(drawing.scores)))
    for index, score in enumerate(drawing.scores):
        x = left + index * (width + 4)
        height = round(3 + 17 * (score - low) / span)
        pen.rectangle(
            (x, bottom - height, x + width - 1, bottom), fill=ACCENT if index == drawing.winner else BAR
        )
