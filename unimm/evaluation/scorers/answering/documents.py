"""Answers read from documents and scenes: DocVQA (arXiv:2007.00398), InfoVQA, ST-VQA (arXiv:1905.13648).

Records: `gold` is the list of right answers; the best match counts, as average normalised Levenshtein
similarity (ANLS), 0 below a half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Record, texts
from unimm.evaluation.scorers.answering.judging import Rows, judge_texts
from unimm.evaluation.scorers.answering.parsers import edit_distance
from unimm.evaluation.scorers.scorer import Scorer


def _score(
    records: Sequence[Record], unparsed: str = "wrong", *, similarity: Callable[[str, str], float]
) -> Scored:
    judged = judge_texts(
        records, texts, lambda item: max(similarity(item.prediction, gold) for gold in item.gold), unparsed
    )
    rows = Rows()
    for item, value in zip(judged.items, judged.values, strict=True):
        rows.add_each("anls", item.category, value, item.image)
    return rows.scored(judged)


def _scorer(name: str) -> Scorer:
    by_words = partial(_score, similarity=edit_distance.anls_by_words)
    official = partial(_score, similarity=edit_distance.anls)
    return Scorer(name, 1, {"official": official, "lmms_eval": by_words, "vlmevalkit": by_words})


DOCUMENTS = {name: _scorer(name) for name in ("docvqa", "infovqa", "stvqa")}
