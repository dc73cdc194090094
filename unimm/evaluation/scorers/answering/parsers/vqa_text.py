"""Normal forms of short answers: VQAv2's, EvalAI's (TextVQA, ST-VQA) and VLMEvalKit's.

Sources: https://github.com/GT-Vision-Lab/VQA (a013f00), https://github.com/facebookresearch/mmf (b0ffc7f,
`m4c_evaluators.py`), https://github.com/open-compass/VLMEvalKit (e8e78f0, `process_punctuation`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from unimm.evaluation.scorers.answering.parsers.contractions import CONTRACTIONS

_MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# The official pattern means to spare the period after a digit, but its look-behind is misspelt: every
# period that no digit follows goes.
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_REPAIRED = re.compile(r"(?<!\d)\.(?!\d)")
_MOST_PERIODS = 32  # the official call passes re.UNICODE, which is 32, where the count stands
_UP_TO_TEN = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(value) for value, word in enumerate(_UP_TO_TEN.split())} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_REMEMBERED = 1 << 16  # annotators repeat each other


def strip_punctuation(text: str, period: re.Pattern[str] = _PERIOD) -> str:
    """Return text without its marks: those that touch a space anywhere vanish, others become a space.

    A comma between digits anywhere makes all marks vanish.
    """
    all_vanish = _COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in _MARKS.intersection(text):
        vanishes = all_vanish or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if vanishes else " ")
    return period.sub("", out, count=_MOST_PERIODS)


def fold_words(text: str) -> str:
    """Return lower-case words, numbers to ten as digits, without articles, apostrophes restored."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def one_line(text: str) -> str:
    """Return text with line breaks and tabs as spaces, stripped."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(_REMEMBERED)
def vqav2(text: str) -> str:
    """Return the normal form of VQAv2's own evaluation."""
    return fold_words(strip_punctuation(one_line(text)))


@lru_cache(_REMEMBERED)
def evalai(text: str) -> str:
    """Return the normal form of the EvalAI servers of TextVQA, VizWiz and ST-VQA."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return fold_words(strip_punctuation(one_line(text)))


@lru_cache(_REMEMBERED)
def vlmevalkit(text: str) -> str:
    """Return VLMEvalKit's normal form: VQAv2's, the period after a digit spared as was meant."""
    return fold_words(strip_punctuation(one_line(text), _PERIOD_REPAIRED))


def words_of(text: str) -> list[str]:
    """Return the lower-case words of an answer as VLMEvalKit's reader of yes and no sees them."""
    return strip_punctuation(text.lower(), _PERIOD_REPAIRED).split()
