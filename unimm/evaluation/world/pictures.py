"""The scores as pictures: contact sheets with right and wrong marked, and the curve of best of N."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unimm.evaluation.world.card import Card
from unimm.evaluation.world.settings import COUNTS, VERIFIERS
from unimm.world.prompts import Prompt

_SIDE, _GAP, _WORDS = 160, 14, 46  # pixels: a picture, the space around it, the words below it
COLUMNS, _ROWS = 6, 4
_PAPER, _INK, _RIGHT, _WRONG = "#faf8f4", "#22201c", "#2f8f4e", "#c4302e"


def contact_sheet(
    asked: Sequence[Prompt], pictures: np.ndarray, right: Sequence[bool], columns: int = COLUMNS
) -> Image.Image:
    """Return a family's first drawings over their prompts, ticked in green or crossed out in red.

    Args:
        asked: P prompts.
        pictures: uint8 [P Hp Wp 3].
        right: the reader's verdicts, [P].
        columns: of the sheet.
    """
    count = min(len(asked), columns * _ROWS)
    rows = -(-count // columns)
    size = (columns * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _GAP + _WORDS) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for index in range(count):
        left = _GAP + index % columns * (_SIDE + _GAP)
        top = _GAP + index // columns * (_SIDE + _GAP + _WORDS)
        picture = Image.fromarray(pictures[index]).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        sheet.paste(picture, (left, top))
        _mark(pen, left, top, bool(right[index]))
        for line, text in enumerate(textwrap.wrap(asked[index].text, 24)[:3]):
            pen.text((left, top + _SIDE + 4 + 14 * line), text, fill=_INK, font=font)
    return sheet


def _mark(pen: ImageDraw.ImageDraw, left: int, top: int, right: bool) -> None:
    """Frame a picture and put a tick or a cross into its corner."""
    colour = _RIGHT if right else _WRONG
    pen.rectangle((left - 2, top - 2, left + _SIDE + 1, top + _SIDE + 1), outline=colour, width=3)
    x, y = left + _SIDE - 22, top + 6
    strokes = [((0, 8), (5, 14), (15, 1))] if right else [((1, 1), (14, 14)), ((14, 1), (1, 14))]
    for stroke in strokes:
        pen.line([(x + dx, y + dy) for dx, dy in stroke], fill=colour, width=4)


def save_sheets(
    folder: Path, split: str, asked: Sequence[Prompt], pictures: np.ndarray, right: np.ndarray
) -> None:
    """Write one sheet per family: FOLDER/SPLIT_FAMILY.png."""
    families = np.array([prompt.spec.family for prompt in asked])
    for family in np.unique(families):
        mine = np.flatnonzero(families == family)
        sheet = contact_sheet([asked[i] for i in mine], pictures[mine], right[mine])
        sheet.save(folder / f"{split}_{family}.png")


def save_curve(path: Path, card: Card) -> bool:
    """Plot best of N with its intervals; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curves: Mapping[str, Mapping] = {name: card["best_of"][name] for name in VERIFIERS} | {
        "oracle": card["oracle"]
    }
    for (name, curve), colour in zip(curves.items(), ("#c4502e", "#2d6fb0", "#8a857c"), strict=True):
        leaves = [curve[str(n)] for n in COUNTS]
        style = ":" if name == "oracle" else "-"
        axes.plot(
            COUNTS,
            [leaf.mean for leaf in leaves],
            style,
            marker="o",
            color=colour,
            label=name.replace("_", " "),
        )
        if name != "oracle":
            axes.fill_between(
                COUNTS,
                [leaf.low for leaf in leaves],
                [leaf.high for leaf in leaves],
                color=colour,
                alpha=0.15,
                lw=0,
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(n) for n in COUNTS])
    axes.set(xlabel="candidates per prompt (N)", ylabel="drawings that obey their prompt")
    axes.set_title(f"Best of N by the model's own verdict (n = {leaves[0].n}, 95 % intervals)", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return True
