"""MMMU (arXiv:2311.16502) and MMMU-Pro (2409.02813): subjects of a college, choices and open questions.

Records: `category` the subject; with `options` a choice, `gold` a letter; without options an open question,
`gold` a text or a list. MMMU-Pro: choices only, `category` the setting (such as "standard (10 options)" or
"vision").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.answering.items import Item, Record, letter, read_items, texts
from unimm.evaluation.scorers.answering.judging import (
    OFFICIAL_SEED,
    Judged,
    Reader,
    accuracy,
    judge_choices,
    judge_read,
)
from unimm.evaluation.scorers.answering.parsers import (
    inferred,
    letters,
    mmmu_choice,
    mmmu_open,
    numbers,
)
from unimm.evaluation.scorers.scorer import Scorer

Open = Callable[[str, Sequence[str]], bool]
"""Whether an open answer is right, given the right ones."""

SETTINGS = ("standard (10 options)", "vision")
"""Of MMMU-Pro; its score is the mean of these two."""


def _is_choice(item: Item) -> bool:
    return item.record.get("options") is not None


def _score(
    records: Sequence[Record],
    unparsed: str = "wrong",
    seed: int = OFFICIAL_SEED,
    *,
    read: Reader,
    is_right: Open,
) -> Scored:
    items = tuple(_checked(item) for item in read_items(records, texts))
    choices = tuple(item for item in items if _is_choice(item))
    judged = judge_read(choices, [read(item.prediction, item.options) for item in choices], unparsed, seed)
    value = dict(zip((item.id for item in choices), judged.values, strict=True))
    said = dict(zip((item.id for item in choices), judged.said, strict=True))
    blank = 0
    for item in items:
        if item.id not in value:
            blank += not item.failed and not item.prediction.strip()
            value[item.id] = float(not item.failed and is_right(item.prediction, item.gold))
            said[item.id] = item.prediction
    whole = Judged(
        items,
        tuple(value[item.id] for item in items),
        tuple(said[item.id] for item in items),
        judged.unparsed + blank,
    )
    return accuracy(whole)


def _checked(item: Item) -> Item:
    """Return a choice with its letter as the right answer; an open question as it is."""
    if not _is_choice(item):
        return item
    try:
        right = letter(item.gold[0] if len(item.gold) == 1 else item.gold)
    except ValueError as error:
        raise ValueError(f"mmmu, id {item.id!r}: gold: {error}") from None
    if right not in item.options:
        raise ValueError(
            f"mmmu, id {item.id!r}: gold: expected one of {', '.join(item.options)}, got {right!r}"
        )
    return replace(item, gold=right)


def _official_open(answer: str, golds: Sequence[str]) -> bool:
    return mmmu_open.matches(mmmu_open.parse(answer), golds)


def _cambrian_open(answer: str, golds: Sequence[str]) -> bool:
    """Return whether the answer is equal, or a number of which the right one is within 5 %."""
    text = letters.cambrian_answer(answer)
    got = numbers.number(text)
    for gold in golds:
        wanted = numbers.number(gold.lower())
        # Upstream passes the right answer where the tolerance's function takes the prediction.
        if text == gold.lower() or (None not in (got, wanted) and numbers.within(wanted, got)):
            return True
    return False


def _vlmevalkit_open(answer: str, golds: Sequence[str]) -> bool:
    """Return whether the answer is read as A of "A: the right answer, B: Other Answers"."""
    return any(inferred.vlmevalkit(answer, {"A": gold, "B": "Other Answers"}) == "A" for gold in golds)


MMMU = Scorer(
    "mmmu",
    1,
    {
        "official": partial(_score, read=mmmu_choice.mmmu, is_right=_official_open),
        "cambrian": partial(_score, read=letters.cambrian, is_right=_cambrian_open),
        # Upstream compares one parsed value of a set in no order, and has a judge; here the official matcher.
        "lmms_eval": partial(_score, read=mmmu_choice.lmms_eval, is_right=_official_open),
        "vlmevalkit": partial(_score, read=inferred.vlmevalkit, is_right=_vlmevalkit_open),
    },
)


def _score_pro(
    records: Sequence[Record], unparsed: str = "wrong", seed: int = OFFICIAL_SEED, *, read: Reader
) -> Scored:
    return accuracy(judge_choices(records, read, unparsed, seed), _mean_of_settings)


def _mean_of_settings(means: Totals) -> Totals:
    present = [means.get(f"accuracy/{setting}") for setting in SETTINGS]
    return {} if any(mean is None for mean in present) else {"mean": np.mean(present, axis=0)}


MMMU_PRO = Scorer(
    "mmmu_pro",
    1,
    {
        "official": partial(_score_pro, read=mmmu_choice.mmmu_pro),
        "lmms_eval": partial(_score_pro, read=mmmu_choice.lmms_eval),
        "vlmevalkit": partial(_score_pro, read=inferred.vlmevalkit),
    },
)
