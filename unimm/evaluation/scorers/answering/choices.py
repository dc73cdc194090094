"""Choices scored one by one: AI2D (arXiv:1603.07396), SEED-Bench (2307.16125), MMStar (2403.20330).

Records: `gold` a letter, `options`, `category`; MMStar's `subcategory` under each category. "official"
reads an option's letter or text alone; SEED-Bench's own way, the likeliest option, gives such answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.answering.items import Record
from unimm.evaluation.scorers.answering.judging import OFFICIAL_SEED, Reader, Rows, accuracy, judge_choices
from unimm.evaluation.scorers.answering.parsers import inferred, letters
from unimm.evaluation.scorers.scorer import Rule, Scorer


def _score(
    records: Sequence[Record], unparsed: str = "wrong", seed: int = OFFICIAL_SEED, *, read: Reader
) -> Scored:
    return accuracy(judge_choices(records, read, unparsed, seed))


def _score_by_subcategory(
    records: Sequence[Record], unparsed: str = "wrong", seed: int = OFFICIAL_SEED, *, read: Reader
) -> Scored:
    """Score as lmms-eval: each category is the mean of its subcategories', the average that of all."""
    judged = judge_choices(records, read, unparsed, seed)
    rows = Rows()
    for item, value in zip(judged.items, judged.values, strict=True):
        below = item.record.get("subcategory")
        if not item.category or not isinstance(below, str) or not below:
            raise ValueError(f"mmstar, id {item.id!r}: expected texts under category and subcategory")
        rows.add("accuracy", value, item.image)
        rows.add(f"accuracy/{item.category}/{below}", value, item.image)
    return rows.scored(judged, _mean_of_subcategories)


def _mean_of_subcategories(means: Totals) -> Totals:
    below: dict[str, dict[str, np.ndarray]] = {}
    for name, mean in means.items():
        _, *path = name.split("/", 2)
        if len(path) == 2:
            below.setdefault(path[0], {})[path[1]] = mean
    every: dict[str, list[np.ndarray]] = {}
    for under in below.values():
        for name, mean in under.items():
            every.setdefault(name, []).append(mean)
    totals = {f"mean/{category}": _mean(list(under.values())) for category, under in below.items()}
    return {**totals, "mean": _mean([mean for means in every.values() for mean in means])}


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(values, axis=0)


def _scorer(name: str, protocols: dict[str, Reader], **special: Rule) -> Scorer:
    rules: dict[str, Rule] = {key: partial(_score, read=read) for key, read in protocols.items()}
    return Scorer(name, 1, {**rules, **special})


AI2D = _scorer(
    "ai2d",
    {
        "official": letters.option_match,
        "cambrian": letters.cambrian_ai2d,
        "lmms_eval": letters.lmms_ai2d,
        "vlmevalkit": inferred.vlmevalkit,
    },
)
SEED = _scorer(
    "seed",
    {
        "official": letters.option_match,
        "cambrian": letters.cambrian_seed,
        "lmms_eval": letters.lmms_seed,
        "vlmevalkit": inferred.vlmevalkit,
    },
)
MMSTAR = _scorer(
    "mmstar",
    {
        "official": letters.option_match,
        "cambrian": letters.cambrian_mmstar,
        "vlmevalkit": inferred.vlmevalkit,
    },
    lmms_eval=partial(_score_by_subcategory, read=inferred.lmms_eval),
)
