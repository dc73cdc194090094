"""Readers of an option's letter: `read(answer, options) -> letter` as written, or None.

`options` are texts by letter. What is returned need not be an option; the caller checks that.

Sources: https://github.com/cambrian-mllm/cambrian (539ffc3, `*_test.py`), LLaVA (c121f04,
`eval_science_qa.py`), lmms-eval (75571cf, `seedbench`, `ai2d`, `mmvp`, `scienceqa`).
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

Options = Mapping[str, str]

_KEYWORDS = ("answer is", "answer is:", "answer:")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LETTER_FIRST = re.compile(r"\s*([A-Z])\.")
_LLAVA_SENTENCE = re.compile(r"The answer is ([A-Z]).")  # the last dot is any character, as upstream
_MMVP_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"^\s*\(?([AB])\)?\.?\s*$",
        r"^\s*\(?([AB])\)?[\.\s]",
        r"answer\s+is\s+\(?([AB])\)?",
        r"option\s+\(?([AB])\)?",
        r"\(?([AB])\)?(?:\s|$)",
    )
)


def cambrian_answer(answer: str) -> str:
    """Return the lower-case text after "answer is", "answer:"; less periods at its end."""
    return _after_keywords(answer).rstrip(".")


def cambrian_option(answer: str, ends: str = ".:,") -> str:
    """Return the same less `ends` and one kind of round brackets; a letter, or an option's text."""
    return _after_keywords(answer).rstrip(ends).lstrip("(").rstrip(")")


def cambrian_first(answer: str, ends: str = ".:,") -> str:
    """Return the first character of `cambrian_option`, "" where there is none."""
    return cambrian_option(answer, ends)[:1]


def _after_keywords(answer: str) -> str:
    text = answer.lower().strip()
    for keyword in _KEYWORDS:
        text = text.split(keyword)[-1]
    return text.strip()


def cambrian(answer: str, options: Options) -> str:
    """Read a letter as Cambrian does for AI2D, MMMU and MMBench: "a cat" is A, "increase" I."""
    return cambrian_first(answer).upper()


def cambrian_ai2d(answer: str, options: Options) -> str:
    """Read the same, where the right answer is a number and a digit counts as the option's index."""
    first = cambrian_first(answer)
    letters = dict(zip("0123", "ABCD", strict=True))
    return letters.get(first, first.upper())


def cambrian_seed(answer: str, options: Options) -> str:
    """Read a letter as Cambrian does for SEED-Bench: only periods are stripped from the end."""
    return cambrian_first(answer, ".").upper()


def cambrian_mmstar(answer: str, options: Options) -> str | None:
    """Read the first word less ".:,"; "(a)" is not read, upstream looks for "(A)" in lower-case text."""
    words = answer.lower().split()
    return words[0].rstrip(".:,").upper() if words else None


def cambrian_mmvp(answer: str, options: Options) -> str:
    """Read a letter, or the whole text of an option."""
    text = cambrian_option(answer)
    if not text:
        return ""
    return next((letter for letter, option in options.items() if option.lower() == text), text.upper())


def llava_scienceqa(answer: str, options: Options) -> str | None:
    """Read a bare letter A to E, "X. ...", or the only "The answer is X." of the text."""
    if answer in tuple("ABCDE"):
        return answer
    if len(answer) >= 3 and answer[0] in "ABCDE" and answer[1:3] == ". ":
        return answer[0]
    found = _LLAVA_SENTENCE.findall(answer)
    return found[0] if len(found) == 1 else None


def lmms_scienceqa(answer: str, options: Options) -> str | None:
    """Read a bare letter in either case, or "X." at the start."""
    text = answer.strip()
    if len(text) == 1:
        return text.upper()
    return text[0] if len(text) >= 2 and text[0].isupper() and text[1] == "." else None


def lmms_seed(answer: str, options: Options) -> str:
    """Read the first character, whatever it is."""
    return lmms_seed_first(answer).upper()


def lmms_seed_first(answer: str) -> str:
    """Return the first character that is no space, "" where there is none."""
    return answer.strip()[:1]


def lmms_ai2d(answer: str, options: Options) -> str:
    """Read "X." at the start, else the whole answer, without case and punctuation."""
    return lmms_ai2d_filter(answer).lower().translate(_NO_PUNCTUATION).upper()


def lmms_ai2d_filter(answer: str) -> str:
    """Return the letter of "X." at the start, else the whole answer."""
    found = _LETTER_FIRST.match(answer)
    return found[1] if found else answer


def lmms_mmvp(answer: str, options: Options) -> str | None:
    """Read A or B by the first form that fits, from "A" alone to any A or B before a space."""
    text = answer.strip()
    for form in _MMVP_FORMS:
        if found := form.search(text):
            return found[1].upper()
    return text[0].upper() if text[:1].upper() in ("A", "B") else None


def option_match(answer: str, options: Options) -> str | None:
    """Read an option's letter or its text, alone but for case, brackets and a period."""
    text = _plain(answer)
    letters = (letter for letter, option in options.items() if text in (letter.casefold(), _plain(option)))
    return next(letters, None) if text else None


def _plain(text: str) -> str:
    return text.strip().strip("().").casefold().strip()


def cambrian_scienceqa(answer: str, options: Options) -> str:
    """Read an option's whole text without punctuation, else what stands before the first period."""
    text = cambrian_answer(answer)
    words = text.translate(_NO_PUNCTUATION).strip()
    for letter, option in options.items():
        if words and option.lower().translate(_NO_PUNCTUATION).strip() == words:
            return letter
    return text.split(".")[0].upper()
