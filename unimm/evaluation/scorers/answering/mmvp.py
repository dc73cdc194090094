"""MMVP (arXiv:2401.06209): pairs of pictures that CLIP takes for alike; both answers must be right.

Records: `gold` a letter, `options`, `pair`, the same for the two questions of a pair (Cambrian takes
consecutive rows; the results agree on complete data). "official" reads an option's letter or text alone,
where the paper has a person or GPT-4 compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Record
from unimm.evaluation.scorers.answering.judging import (
    OFFICIAL_SEED,
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
    rows = Rows()
    for pair, places in grouped(judged, lambda item: str(item.record.get("pair"))).items():
        if len(places) != 2:
            first = judged.items[places[0]].id
            raise ValueError(f"mmvp, id {first!r}: pair {pair}: expected 2 questions, got {len(places)}")
        for at in places:
            rows.add("accuracy", judged.values[at], pair)
        rows.add("pair_accuracy", min(judged.values[at] for at in places), pair)
    return rows.scored(judged)


MMVP = Scorer(
    "mmvp",
    1,
    {
        "official": partial(_score, read=letters.option_match),
        "cambrian": partial(_score, read=letters.cambrian_mmvp),
        "lmms_eval": partial(_score, read=letters.lmms_mmvp),
        "vlmevalkit": partial(_score, read=inferred.vlmevalkit),
    },
)
