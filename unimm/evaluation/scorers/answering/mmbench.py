"""MMBench (arXiv:2307.06281): a choice counts in the circular score only if right under every rotation.

Records: `gold` a letter, `options`, `category`, and `source`, the same for all rotations of one question
(VLMEvalKit: the index modulo a million). VLMEvalKit is MMBench's own code; its judge for what cannot be
read is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Record
from unimm.evaluation.scorers.answering.judging import (
    OFFICIAL_SEED,
    Judged,
    Reader,
    Rows,
    grouped,
    judge_choices,
)
from unimm.evaluation.scorers.answering.parsers import inferred, letters
from unimm.evaluation.scorers.scorer import Scorer


def _score(
    records: Sequence[Record], unparsed: str = "wrong", seed: int = OFFICIAL_SEED, *, read: Reader
) -> Scored:
    judged = judge_choices(records, read, unparsed, seed)
    for item in judged.items:
        source = item.record.get("source")
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise ValueError(
                f"mmbench, id {item.id!r}: source: expected what its rotations share, got {source!r}"
            )
    rotations = grouped(judged, lambda item: f"{item.category}\n{item.record['source']}")
    _expect_whole(judged, rotations)
    rows = Rows()
    for key, places in rotations.items():
        category, _, source = key.partition("\n")
        for at in places:
            rows.add_each("accuracy", category, judged.values[at], source)
        rows.add_each("circular_accuracy", category, min(judged.values[at] for at in places), source)
    return rows.scored(judged)


def _expect_whole(judged: Judged, rotations: dict[str, list[int]]) -> None:
    """Refuse questions that lack rotations: with fewer, the circular score would be higher."""
    if all(len(places) == 1 for places in rotations.values()):
        return
    for places in rotations.values():
        first = judged.items[places[0]]
        options = first.record.get("options")
        if options is not None and len(places) != len(options):
            raise ValueError(
                f"mmbench, id {first.id!r}: expected {len(options)} rotations of its source, "
                f"got {len(places)}"
            )


MMBENCH = Scorer(
    "mmbench",
    1,
    {
        "official": partial(_score, read=inferred.vlmevalkit),
        "cambrian": partial(_score, read=letters.cambrian),
        "vlmevalkit": partial(_score, read=inferred.vlmevalkit),
    },
)
