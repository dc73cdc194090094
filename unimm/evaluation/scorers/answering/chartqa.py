"""ChartQA (arXiv:2203.10244): relaxed accuracy, numbers within 5 %.

Records: `gold` a text (a list where several are right), `category` human or augmented. The two test halves
are equally large, so that accuracy over all is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Record, texts
from unimm.evaluation.scorers.answering.judging import accuracy, judge_texts
from unimm.evaluation.scorers.answering.parsers import numbers
from unimm.evaluation.scorers.scorer import Scorer


def _score(
    records: Sequence[Record], unparsed: str = "wrong", *, equal: Callable[[str, str], bool]
) -> Scored:
    def worth(item) -> float:
        return float(any(equal(item.prediction, gold) for gold in item.gold))

    return accuracy(judge_texts(records, texts, worth, unparsed))


def _stripped(prediction: str, target: str) -> bool:
    return numbers.relaxed(prediction.strip(), target)


CHARTQA = Scorer(
    "chartqa",
    1,
    {
        "official": partial(_score, equal=numbers.relaxed),
        "cambrian": partial(_score, equal=numbers.cambrian),
        "lmms_eval": partial(_score, equal=numbers.relaxed),
        "vlmevalkit": partial(_score, equal=_stripped),
    },
)
