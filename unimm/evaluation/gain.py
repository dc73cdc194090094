"""What training brought: two models on the same prompts with the same noise, and the paired difference.

Prompts, scenes and questions are those of `unimm.world` under their own seeds, which no training stream uses;
drawings are judged by the scene reader, answers by exact match but for case and a full stop. What a model
drew or said is kept, so that a model that was measured before is not asked again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from unimm.evaluation.bootstrap import Leaf, interval, paired_gain
from unimm.evaluation.store import Arrays, Store, stage
from unimm.evaluation.tiles import png
from unimm.evaluation.world.card import said
from unimm.evaluation.world.command import Parser
from unimm.evaluation.world.drawing import draw, picture_size
from unimm.evaluation.world.pictures import COLUMNS, contact_sheet
from unimm.evaluation.world.scoring import obeyed, read_all, same_answer
from unimm.evaluation.world.seeing import Probe, probe
from unimm.evaluation.world.settings import fingerprint
from unimm.loaded import quiet
from unimm.tables import expect_known
from unimm.whole import write_whole
from unimm.world.prompts import SPLITS, Prompt, prompts
from unimm.world.questions import Question
from unimm.world.render import render
from unimm.world.spec import FAMILIES

if TYPE_CHECKING:
    from unimm.model import UniMM

_PART = 50  # items kept together
_FLIPS = 12  # shown
_PROBES = 200  # probes looked through for each question that is asked, at the most


@dataclass(frozen=True)
class Settings:
    """What two models are compared on, and how they draw."""

    limit: int = 300  # prompts per split, over the families in equal parts; 0 draws nothing
    families: tuple[str, ...] = FAMILIES
    splits: tuple[str, ...] = SPLITS
    questions: int = 0  # about renders of held-in scenes
    kinds: tuple[str, ...] = ()  # of questions; none are all
    steps: int = 50
    guidance: float | None = None  # None: the model's own
    seed: int = 0

    def __post_init__(self) -> None:
        for name, given, known in (("families", self.families, FAMILIES), ("splits", self.splits, SPLITS)):
            if not given:
                raise ValueError(f"--{name}: expected one or more of {', '.join(known)}, got none")
            for each in given:
                expect_known(f"--{name}", each, known)
        if self.limit and self.limit < len(self.families):
            raise ValueError(
                f"--limit: expected {len(self.families)} or more, one per family, got {self.limit}"
            )
        if not self.limit and not self.questions:
            raise ValueError("--limit, --questions: expected one of them above 0, got 0 and 0")
        for name, least in (("limit", 0), ("questions", 0), ("steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected {least} or more, got {getattr(self, name)}")


def asked_of(settings: Settings, split: str) -> list[Prompt]:
    """Return the prompts of a split, as many of each family."""
    each = settings.limit // len(settings.families)
    found = prompts(split, each, settings.seed) if each else []
    return [prompt for prompt in found if prompt.spec.family in settings.families]


def probes_of(settings: Settings) -> list[Probe]:
    """Return the scenes and questions.

    Raises:
        ValueError: a kind of question that there is not.
    """
    found: list[Probe] = []
    for index in range(_PROBES * settings.questions):
        if len(found) == settings.questions:
            break
        tried = probe(settings.seed, index)
        if not settings.kinds or tried.question.kind in settings.kinds:
            found.append(tried)
    if len(found) < settings.questions:
        raise ValueError(f"--kinds: found {len(found)} of {settings.questions} questions of {settings.kinds}")
    return found


@dataclass
class Side:
    """What one model drew and said."""

    right: dict[str, np.ndarray] = field(default_factory=dict)
    """Whether each drawing and answer is right, bool, by "split family" and "questions kind"."""
    drawings: list[Drawing] = field(default_factory=list)


class Drawing(NamedTuple):
    """A prompt, what was drawn of it, uint8 [Hp Wp 3], and whether that is right."""

    prompt: Prompt
    picture: np.ndarray
    right: bool


def measured(model: UniMM, settings: Settings, folder: Path) -> Side:
    """Return what a model draws of the prompts and answers to the questions; kept in the folder."""
    store, side = Store(folder / fingerprint(model, settings)), Side()
    for place, split in enumerate(settings.splits):
        asked = asked_of(settings, split)
        if not asked:
            continue
        first = (settings.seed * len(SPLITS) + place) * 1_000_000
        drawn = _collect(store, split, asked, lambda p, s, first=first: _drawn(model, p, first + s, settings))
        verdicts = obeyed(asked, read_all(drawn["pictures"], f"reading {split} drawings"))
        side.right |= _by(f"{split} ", [prompt.spec.family for prompt in asked], verdicts)
        side.drawings += map(Drawing, asked, drawn["pictures"], verdicts)
    probes = probes_of(settings)
    if probes:
        size = picture_size(model)
        answers = _collect(store, "questions", probes, lambda piece, start: _answers(model, piece, size))
        questions: list[Question] = [each.question for each in probes]
        verdicts = same_answer(answers["answers"], [question.answer for question in questions])
        side.right |= _by("questions ", [question.kind for question in questions], verdicts)
    return side


def gains(before: Side, after: Side) -> dict[str, dict[str, Leaf]]:
    """Return before, after and gain of every row, and of all rows of a sort together ("held_in overall").

    "win_rate" is the share of items on which `after` is right and `before` wrong; those on which both are
    alike count half.
    """
    rows = {}
    for sort in dict.fromkeys(name.partition(" ")[0] for name in before.right):
        names = [name for name in before.right if name.startswith(f"{sort} ")]
        if len(names) > 1:
            rows[f"{sort} overall"] = names
        rows |= {name: [name] for name in names}
    card = {}
    for title, names in rows.items():
        one, two = (
            np.concatenate([side.right[name] for name in names]).astype(float) for side in (before, after)
        )
        card[title] = {
            "before": interval(one),
            "after": interval(two),
            "gain": paired_gain(one, two),
            "win_rate": interval((1 + two - one) / 2),
        }
    return card


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


def open_sides(before: str, after: str) -> list[Callable[[], UniMM]]:
    """Return what opens both models; an adapter's folder is opened on the other, or else on its own base."""
    from unimm import UniMM
    from unimm.model.adapter_files import is_adapter, read_base
    from unimm.model.loading import find_folder

    def opener(name: str, other: str) -> Callable[[], UniMM]:
        if not is_adapter(name):
            find_folder(name)  # a name that is none is told before anything is drawn
            return lambda: UniMM.from_pretrained(name).eval()
        base = other
        if is_adapter(other):
            found = read_base(Path(name))
            if found is None:
                raise ValueError(f"{name}: an adapter that does not name its base; compare it with that")
            base = found.name
        return lambda: UniMM.from_pretrained(base, adapter=name).eval()

    return [opener(before, after), opener(after, before)]


@quiet()
def main(arguments: Sequence[str]) -> None:
    """Compare two models and print the card.

    Raises:
        ValueError: an option out of its range, or a name that is no model.
    """
    options = _parser().parse_args(list(arguments))
    settings = Settings(
        options.limit, tuple(options.families), tuple(options.splits), options.questions,
        tuple(options.kinds), options.steps, options.guidance, options.seed,
    )  # fmt: skip
    for name, path in (("--json", options.json), ("--sheet", options.sheet)):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {str(path.parent)!r}; make it first")
    sides = [
        measured(opened(), settings, options.out) for opened in open_sides(options.before, options.after)
    ]
    card, changed = gains(*sides), flips(*sides)
    show(card, options.before, options.after)
    if options.json is not None:
        facts = {"before": options.before, "after": options.after, "settings": vars(settings)}
        write_whole(options.json, json.dumps({**facts, "card": as_json(card)}, indent=1) + "\n")
    if options.sheet is not None and changed is not None:
        write_whole(options.sheet, png(changed))


def as_json(card: dict[str, dict[str, Leaf]]) -> dict[str, Any]:
    """Return the card with {"mean", "low", "high", "n"} at every leaf."""
    return {title: {name: leaf.to_dict() for name, leaf in row.items()} for title, row in card.items()}


def show(card: dict[str, dict[str, Leaf]], before: str, after: str) -> None:
    """Print the card; 95 % intervals in brackets."""
    table = Table("", "n", "before", "after", "gain, points", "wins, %, ties half", title_justify="left")
    table.title = f"Right, %: {before} and {after}"
    for title, row in card.items():
        table.add_row(title.replace("_", " "), str(row["gain"].n), *(said(leaf) for leaf in row.values()))
    Console(width=None if Console().is_terminal else 140).print(table)


def _by(prefix: str, names: Sequence[str], right: np.ndarray) -> dict[str, np.ndarray]:
    kinds = np.array(names)
    return {f"{prefix}{kind}": right[kinds == kind] for kind in dict.fromkeys(names)}


def _collect(store: Store, name: str, items: Sequence, make: Callable[[Sequence, int], Arrays]) -> Arrays:
    with stage(f"asking for {name}", len(items)) as advance:
        return store.collect(name, items, _PART, make, advance)


def _drawn(model: UniMM, asked: Sequence[Prompt], first: int, settings: Settings) -> Arrays:
    seeds = [first + index for index in range(len(asked))]
    return {"pictures": draw(model, asked, seeds, 1, settings)[1]}


def _answers(model: UniMM, probes: Sequence[Probe], size: int) -> Arrays:
    images = [Image.fromarray(render(each.scene, size)) for each in probes]
    return {"answers": np.array(model.answer(images, [each.question.text for each in probes]))}


def _parser() -> argparse.ArgumentParser:
    parser, own = Parser(prog="python -m eval.gain", description=__doc__.partition("\n")[0]), Settings()
    parser.add_argument("before", help="tiny (built in), a folder, a hub id, or an adapter's folder")
    parser.add_argument("after", help="the same; an adapter is opened on the other model")
    parser.add_argument("--limit", type=int, default=own.limit, help="prompts per split (300); 0: none")
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
