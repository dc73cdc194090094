"""Two runs of the same questions, asked and scored alike: a difference or noise, and what flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.evaluation.bootstrap import paired_intervals
from unimm.evaluation.card import read_card
from unimm.evaluation.comparison import Comparison, Flip, Sameness, Side, flipped, incomparable
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.vqa.answers import Answers, Record
from unimm.evaluation.vqa.page import shown_of
from unimm.evaluation.vqa.pictures import Picture
from unimm.evaluation.vqa.runner import Asked, Settings, data_of, questions_of

SAME: Sameness = {
    "metric": lambda card: card["metric"],
    "version of the scorer": lambda card: card["scorer"]["version"],
    "questions (sha256)": lambda card: card["questions_sha256"],
    "pictures (sha256)": lambda card: card["pictures_sha256"],
    "questions": lambda card: card["n"],
    "prompt": lambda card: card["run"]["template"],
    "pictures shown": lambda card: card["run"]["pictures"],
    "policy for unparsed answers": lambda card: card["policy"],
}
"""Everything but the model must be the same."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Measured:
    """A scored run of questions: its card, and what its numbers are made of."""

    card: Mapping[str, Any]
    records: Sequence[Record]
    scored: Scored


def compare(before: Path, after: Path) -> Comparison:
    """Compare two runs of questions.

    Raises:
        ValueError: they do not compare, with every reason; or their records changed since.
    """
    if reasons := incomparable(read_card(before), read_card(after), SAME):
        raise ValueError(f"{before} and {after} do not compare: {'; '.join(reasons)}")
    one, other = measured(before), measured(after)
    return Comparison(
        Side(one.card, one.scored, _made(one)),
        Side(other.card, other.scored, _made(other)),
        paired_intervals(one.scored, other.scored),
        _flips(one, other),
        f"{one.card['n']} questions",
    )


def measured(folder: Path) -> Measured:
    """Return a run's card with its records, scored again.

    Raises:
        ValueError: the records are not those of the card.
    """
    card = read_card(folder)
    records = list(Answers(folder).read().values())
    scored = SCORERS[card["benchmark"]].score(records, card["scorer"]["protocol"], unparsed=card["policy"])
    told = {name: leaf["mean"] for name, leaf in card["scores"].items()}
    found = scored.metrics()
    if told.keys() != found.keys() or any(abs(found[name] - told[name]) > _ROUNDING for name in told):
        raise ValueError(
            f"{folder}: the records do not give the card's numbers; run the same `unimm eval vqa` again"
        )
    return Measured(card, records, scored)


def _flips(one: Measured, other: Measured) -> tuple[Flip, ...]:
    after = {record["id"]: record for record in other.records}
    pairs = [(record, after[record["id"]]) for record in one.records]
    pairs = [
        (before, later)
        for before, later in pairs
        if flipped(one.scored.each[before["id"]], other.scored.each[later["id"]])
    ]
    pictures = _pictures(one.card, {before["id"] for before, _ in pairs})
    return tuple(
        Flip(
            shown_of(before, one.scored.each[before["id"]], pictures.get(before["id"])),
            shown_of(later, other.scored.each[later["id"]], pictures.get(before["id"])),
        )
        for before, later in pairs
    )


def _pictures(card: Mapping[str, Any], wanted: set[str]) -> dict[str, Picture]:
    """Return the pictures of questions by id; none where the data is far away or no longer there."""
    settings = Settings(**card["settings"])
    if not wanted or card["run"]["data"]["kind"] == "hub":
        return {}
    try:
        data = data_of(settings)
    except (FileNotFoundError, ValueError):
        return {}
    if dict(data.facts) != card["run"]["data"]:
        return {}
    found = questions_of(settings, data, Asked())
    return {each.id: each.picture for each in found if each.id in wanted and each.picture is not None}


def _made(side: Measured) -> str:
    model = side.card["run"]["model"]
    return f"{model['name']} ({model['weights'][:12]}), {model['dtype']}"
