"""What training brought: two sides on the same prompts with the same noise, and the paired difference.

A side is a model, an adapter, or a generator by text or by class. Prompts, scenes and questions are those of
`unimm.world` under their own seeds, which no training stream uses; drawings are judged by the scene reader,
answers by exact match but for case and a full stop. What a side drew or said is kept, so that one that was
measured before is not asked again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unimm.evaluation.contenders import open_sides, sorts_of
from unimm.evaluation.paired import Card, as_json, paired_row, show
from unimm.evaluation.sides import Settings, Side, measured
from unimm.evaluation.tiles import png
from unimm.evaluation.world.command import Parser
from unimm.evaluation.world.pictures import COLUMNS, contact_sheet
from unimm.loaded import quiet
from unimm.whole import write_whole

_FLIPS = 12  # shown


def gains(before: Side, after: Side) -> Card:
    """Return before, after and gain of every row, and of all rows of a sort together ("held_in overall")."""
    rows = {}
    for sort in dict.fromkeys(name.partition(" ")[0] for name in before.right):
        names = [name for name in before.right if name.partition(" ")[0] == sort]
        if len(names) > 1:
            rows[f"{sort} overall"] = names
        rows |= {name: [name] for name in names}
    return {
        title: paired_row(*(np.concatenate([side.right[name] for name in names]) for side in (before, after)))
        for title, names in rows.items()
    }


def flips(before: Side, after: Side) -> Image.Image | None:
    """Return drawings whose verdict changed, before over after: one or two rows of them, at equal distances.

    None where nothing changed.
    """
    pairs = zip(before.drawings, after.drawings, strict=True)
    flipped = [pair for pair in pairs if pair[0].right != pair[1].right]
    if not flipped:
        return None
    columns = min(COLUMNS, len(flipped))
    count = min(_FLIPS, len(flipped) // columns * columns)
    shown = [flipped[i] for i in np.linspace(0, len(flipped) - 1, count).astype(int)]
    rows = [shown[start : start + columns] for start in range(0, count, columns)]
    asked, pictures, right = zip(
        *(pair[side] for row in rows for side in (0, 1) for pair in row), strict=True
    )
    return contact_sheet(asked, np.stack(pictures), right, columns)


@quiet()
def main(arguments: Sequence[str]) -> None:
    """Compare two sides and print the card.

    Raises:
        ValueError: an option out of its range, a name that is no model, or sides that cannot be asked alike.
    """
    options = _parser().parse_args(list(arguments))
    settings = Settings(
        options.limit, tuple(options.families), tuple(options.splits), options.questions,
        tuple(options.kinds), options.steps, options.guidance, options.seed,
    )  # fmt: skip
    for name, path in (("--json", options.json), ("--sheet", options.sheet)):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {str(path.parent)!r}; make it first")
    for sort in sorts_of(options.before, options.after):
        settings.check(sort)
    sides = [
        measured(opened(), settings, options.out) for opened in open_sides(options.before, options.after)
    ]
    card, changed = gains(*sides), flips(*sides)
    show(card, f"Right, %: {options.before} and {options.after}")
    if options.json is not None:
        facts = {"before": options.before, "after": options.after, "settings": vars(settings)}
        write_whole(options.json, json.dumps({**facts, "card": as_json(card)}, indent=1) + "\n")
    if options.sheet is not None and changed is not None:
        write_whole(options.sheet, png(changed))


def _parser() -> argparse.ArgumentParser:
    parser, own = Parser(prog="python -m eval.gain", description=__doc__.partition("\n")[0]), Settings()
    parser.add_argument(
        "before", help="tiny (built in), a hub id, a folder: of a model, an adapter, a generator"
    )
    parser.add_argument("after", help="the same; an adapter is opened on the other model")
    parser.add_argument(
        "--limit", type=int, default=own.limit, help="prompts per split, or drawings by class (300)"
    )
    parser.add_argument("--families", nargs="+", default=own.families, metavar="FAMILY")
    parser.add_argument("--splits", nargs="+", default=own.splits, metavar="SPLIT")
    parser.add_argument("--questions", type=int, default=own.questions, help="about renders (0)")
    parser.add_argument("--kinds", nargs="+", default=own.kinds, help="of questions, such as multiple_choice")
    parser.add_argument("--steps", type=int, default=own.steps, help="of the sampler (50)")
    parser.add_argument("--guidance", type=float, default=own.guidance, help="scale (the model's own)")
    parser.add_argument("--seed", type=int, default=own.seed, help="of prompts, scenes and noise")
    parser.add_argument("--out", type=Path, default=Path("outputs") / "gain", metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the card here as well")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write drawings that flipped, as PNG")
    return parser
