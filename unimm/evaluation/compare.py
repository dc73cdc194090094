"""Two scored folders of the same prompts or questions and rules: a difference or noise, and what flipped."""

from __future__ import annotations

from pathlib import Path

from unimm.evaluation.bootstrap import paired_intervals
from unimm.evaluation.card import read_card
from unimm.evaluation.comparison import Comparison, Flip, Sameness, Side, flipped, incomparable
from unimm.evaluation.page import flat
from unimm.evaluation.session import Measured, measured, shown_of
from unimm.evaluation.vqa import compare as questions
from unimm.evaluation.vqa.tasks import TASKS

SAME: Sameness = {
    "metric": lambda card: card["metric"],
    "version of the scorer": lambda card: card["scorer"]["version"],
    "prompts (sha256)": lambda card: card["prompts"]["sha256"],
    "prompts used": lambda card: card["prompts"]["used"],
    "what the judge was given": lambda card: card["inputs"],
    "pictures per prompt": lambda card: card["images_per_prompt"],
    "pictures": lambda card: card["n"],
}
"""What was measured must be the same. How the pictures were drawn is what is compared."""


def compare(before: Path, after: Path) -> Comparison:
    """Compare two scored folders, of pictures or of answers to questions.

    Raises:
        FileNotFoundError: one of them was not scored.
        ValueError: they do not compare, with every reason; or their records changed since.
    """
    cards = [read_card(folder) for folder in (before, after)]
    of_questions = [card["benchmark"] in TASKS for card in cards]
    if all(of_questions):
        return questions.compare(before, after)
    same = SAME if not any(of_questions) else {"benchmark": lambda card: card["benchmark"]}
    if reasons := incomparable(*cards, same):
        raise ValueError(f"{before} and {after} do not compare: {'; '.join(reasons)}")
    one, other = measured(before), measured(after)
    card = one.card
    return Comparison(
        Side(card, one.scored, _made(one)),
        Side(other.card, other.scored, _made(other)),
        paired_intervals(one.scored, other.scored),
        _flips(one, other),
        f"{card['n']} pictures of {card['prompts']['used']} prompts",
    )


def _flips(one: Measured, other: Measured) -> tuple[Flip, ...]:
    after = {(record["item"], record["sample"]): record for record in other.records}
    flips = []
    for record in one.records:
        later = after.get((record["item"], record["sample"]))
        if later is None:
            continue
        scores = [
            side.benchmark.verdict(each, side.asked)[0] for side, each in ((one, record), (other, later))
        ]
        if flipped(*scores):
            flips.append((record, later))
    return tuple(
        Flip(
            shown_of(one.benchmark, one.asked, before, one.pictures.tiles),
            shown_of(other.benchmark, other.asked, later, other.pictures.tiles),
        )
        for before, later in flips
    )


def _made(side: Measured) -> str:
    made = side.card["generation"]
    if made is None:
        return "pictures of another project"
    told = {name: value for name, value in made["sampling"].items() if value is not None}
    words = ", ".join(f"{name} {value}" for name, value in flat(told))
    return f"{made['model']['name']} ({made['model']['weights'][:12]}), {words}, seed {made['seed']}"
