"""ScienceQA (arXiv:2209.09513): school questions, some with a picture.

Records: `gold` a letter, `options`, `category` the grade or subject, `has_image` true or false. "official"
is LLaVA's rule, which everybody quotes. Cambrian's accuracy counts questions with a picture twice; here
that is "accuracy_pictures_twice".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Record
from unimm.evaluation.scorers.answering.judging import OFFICIAL_SEED, Reader, Rows, judge_choices
from unimm.evaluation.scorers.answering.parsers import inferred, letters
from unimm.evaluation.scorers.scorer import Scorer


def _score(
    records: Sequence[Record],
    unparsed: str = "wrong",
    seed: int = OFFICIAL_SEED,
    *,
    read: Reader,
    twice: bool = False,
) -> Scored:
    judged = judge_choices(records, read, unparsed, seed)
    rows = Rows()
    for item, value in zip(judged.items, judged.values, strict=True):
        pictured = item.record.get("has_image")
        if not isinstance(pictured, bool):
            raise ValueError(
                f"scienceqa, id {item.id!r}: has_image: expected true or false, got {pictured!r}"
            )
        rows.add_each("accuracy", item.category, value, item.image)
        if pictured:
            rows.add("accuracy_with_image", value, item.image)
        for _ in range(twice + twice * pictured):
            rows.add("accuracy_pictures_twice", value, item.image)
    return rows.scored(judged)


SCIENCEQA = Scorer(
    "scienceqa",
    1,
    {
        "official": partial(_score, read=letters.llava_scienceqa),
        "cambrian": partial(_score, read=letters.cambrian_scienceqa, twice=True),
        "lmms_eval": partial(_score, read=letters.lmms_scienceqa),
        "vlmevalkit": partial(_score, read=inferred.vlmevalkit),
    },
)
