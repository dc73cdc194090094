"""Short answers compared with those of people: TextVQA (arXiv:1904.08920), VQAv2 (arXiv:1612.00837), GQA.

Records: `gold` is the list of the annotators' answers (TextVQA: ten), for GQA one text; `category` is
VQAv2's answer type. A soft accuracy leaves out each annotator in turn: min(1, equal answers of the others /
3), averaged.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from functools import partial

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.answering.items import Gold, Item, Record, ten_texts, text, texts
from unimm.evaluation.scorers.answering.judging import accuracy, judge_texts
from unimm.evaluation.scorers.answering.parsers import vqa_text
from unimm.evaluation.scorers.answering.parsers.yes_no import mme_cambrian_text
from unimm.evaluation.scorers.scorer import Scorer

_NEEDED = 3  # equal answers that make one fully right


def soft_accuracy(answer: str, golds: Sequence[str]) -> float:
    """Return how far annotators agree with an answer, 0 to 1."""
    equal = sum(gold == answer for gold in golds)
    credit = (min(1.0, (equal - (gold == answer)) / _NEEDED) for gold in golds)
    return sum(credit) / len(golds)


def _by_form(form: Callable[[str], str]) -> Callable[[Item], float]:
    def worth(item: Item) -> float:
        return soft_accuracy(form(item.prediction), [form(gold) for gold in item.gold])

    return worth


def vqav2_worth(item: Item) -> float:
    """Return VQAv2's accuracy: only where annotators differ is anything normalised."""
    golds = [vqa_text.one_line(gold) for gold in item.gold]
    answer = vqa_text.one_line(item.prediction)
    if len(set(golds)) > 1:
        golds, answer = [vqa_text.vqav2(gold) for gold in golds], vqa_text.vqav2(answer)
    return soft_accuracy(answer, golds)


def _score(
    records: Sequence[Record], unparsed: str = "wrong", *, gold: Gold, worth: Callable[[Item], float]
) -> Scored:
    return accuracy(judge_texts(records, gold, worth, unparsed))


TEXTVQA = Scorer(
    "textvqa",
    1,
    {
        # Cambrian and lmms-eval compute the same; their prompts differ.
        "official": partial(_score, gold=ten_texts, worth=_by_form(vqa_text.evalai)),
        "cambrian": partial(_score, gold=ten_texts, worth=_by_form(vqa_text.evalai)),
        "lmms_eval": partial(_score, gold=ten_texts, worth=_by_form(vqa_text.evalai)),
        "vlmevalkit": partial(_score, gold=texts, worth=_by_form(vqa_text.vlmevalkit)),
    },
)
VQAV2 = Scorer(
    "vqav2",
    1,
    {
        "official": partial(_score, gold=texts, worth=vqav2_worth),
        "lmms_eval": partial(_score, gold=texts, worth=_by_form(vqa_text.vqav2)),
        "vlmevalkit": partial(_score, gold=texts, worth=_by_form(vqa_text.vlmevalkit)),
    },
)

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _lmms_form(answer: str) -> str:
    return answer.lower().translate(_NO_PUNCTUATION)


def _equal(form: Callable[[str], str], gold_form: Callable[[str], str]) -> Callable[[Item], float]:
    def worth(item: Item) -> float:
        return float(form(item.prediction) == gold_form(item.gold))

    return worth


GQA = Scorer(
    "gqa",
    1,
    {
        "official": partial(_score, gold=text, worth=_equal(str, str)),
        "cambrian": partial(_score, gold=text, worth=_equal(mme_cambrian_text, str.lower)),
        "lmms_eval": partial(_score, gold=text, worth=_equal(_lmms_form, _lmms_form)),
        "vlmevalkit": partial(
            _score,
            gold=text,
            worth=_equal(lambda answer: answer.strip().lower(), lambda gold: gold.strip().lower()),
        ),
    },
)
