"""POPE (arXiv:2305.10355): is there an object in the picture? Yes for half the questions.

Records: `gold` yes or no, `image`, `category` (random, popular or adversarial; optional). Numbers are
shares, 0 to 1; where nothing was called yes, precision is 0 and F1 is 0 (the official script divides by
zero).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.answering.items import Item, Record
from unimm.evaluation.scorers.answering.judging import OFFICIAL_SEED, Rows, judge_yes_no
from unimm.evaluation.scorers.answering.parsers import yes_no
from unimm.evaluation.scorers.scorer import Scorer

Miss = Callable[[str | None], bool]
"""Whether what was read of an answer counts against recall where yes is right."""
YesRatio = Callable[[Item, str | None], bool]


def _score(
    records: Sequence[Record],
    unparsed: str = "wrong",
    seed: int = OFFICIAL_SEED,
    *,
    read: Callable[[str], str | None],
    misses: Miss,
    counts_as_yes: YesRatio,
) -> Scored:
    judged = judge_yes_no(records, read, unparsed, seed)
    rows = Rows()
    for item, value, said in zip(judged.items, judged.values, judged.said, strict=True):
        true, yes = item.gold == "yes", said == "yes"
        counts = {
            "accuracy": value,
            "true_positive": true and yes,
            "false_positive": yes and not true,
            "false_negative": true and misses(said),
            "yes_ratio": counts_as_yes(item, said),
        }
        for name, count in counts.items():
            rows.add_each(name, item.category, float(count), item.image)
    return rows.scored(judged, _totals)


def _totals(means: Totals) -> Totals:
    totals: dict[str, np.ndarray] = {}
    for name in means:
        base, _, category = name.partition("/")
        if base == "accuracy":
            end = f"/{category}" if category else ""
            kinds = ("true_positive", "false_positive", "false_negative")
            hits, false_alarms, missed = (means[kind + end] for kind in kinds)
            precision, recall = _share(hits, hits + false_alarms), _share(hits, hits + missed)
            totals["precision" + end], totals["recall" + end] = precision, recall
            totals["f1" + end] = _share(2 * precision * recall, precision + recall)
    return totals


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _not_yes(said: str | None) -> bool:
    return said != "yes"


def _said_no(said: str | None) -> bool:
    """Return whether "no" was read: lmms-eval forgets answers that are neither in its recall."""
    return said == "no"


def _said_yes(item: Item, said: str | None) -> bool:
    return said == "yes"


def _is_yes(item: Item, said: str | None) -> bool:
    """Return whether yes is right: lmms-eval's ratio is that of the questions, not of the answers."""
    return item.gold == "yes"


POPE = Scorer(
    "pope",
    1,
    {
        "official": partial(_score, read=yes_no.pope_official, misses=_not_yes, counts_as_yes=_said_yes),
        "cambrian": partial(_score, read=yes_no.pope_cambrian, misses=_not_yes, counts_as_yes=_said_yes),
        "lmms_eval": partial(_score, read=yes_no.pope_lmms_eval, misses=_said_no, counts_as_yes=_is_yes),
        "vlmevalkit": partial(_score, read=yes_no.vlmevalkit, misses=_not_yes, counts_as_yes=_said_yes),
    },
)
