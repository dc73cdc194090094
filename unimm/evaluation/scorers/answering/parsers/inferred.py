"""VLMEvalKit's and lmms-eval's searches for an option in running text.

Sources: https://github.com/open-compass/VLMEvalKit (e8e78f0, `matching_util.py`), lmms-eval (75571cf,
`mcq_extract.py`).
"""

from __future__ import annotations

import re

from unimm.evaluation.scorers.answering.parsers.letters import Options

REFUSED = "Z"
"""What VLMEvalKit reads from an answer that declines to answer."""

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_TO_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_FROM_THE_END = 5  # a lone letter counts only among the last words: before, "A" is an article
_SENTENCE = re.compile(r"answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def vlmevalkit(answer: str, options: Options) -> str | None:
    """Read a letter that is the only one among the words, else the only option whose text occurs."""
    return _lone_letter(answer, options) or _only_text(answer, options)


def _lone_letter(answer: str, options: Options) -> str | None:
    if "Failed to obtain answer via API" in answer:
        return None
    if any(refusal in answer for refusal in _REFUSALS):
        return REFUSED
    words = answer.translate(_TO_SPACES).split()
    found = [letter for letter in options if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - _FROM_THE_END:
        return found[0]
    if not found and REFUSED in words:
        return REFUSED
    sentence = _SENTENCE.search(answer)
    return sentence[1].upper() if sentence and sentence[1].upper() in options else None


def _only_text(answer: str, options: Options) -> str | None:
    answer = answer.lower()
    if len(answer) > 2 * sum(len(option) for option in options.values()):
        return None
    found = [letter for letter, option in options.items() if option.lower() in answer]
    return found[0] if len(found) == 1 else None


_PHRASES = (
    "the answer is", "answer is", "the correct answer is", "correct answer is", "the best answer is",
    "best answer is", "the correct option is", "correct option is", "the best option is", "best option is",
    "the choice is", "choice is", "the correct choice is", "correct choice is", "i choose", "i select",
    "i pick", "my answer is", "my choice is", "옵션", "정답은", "답은", "답:", "答案是", "答案为",
    "选", "答えは",
)  # fmt: skip
_FORMS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_START, _END, _PHRASE, _ANYWHERE = 10, 9, 7, 0


def lmms_eval(answer: str, options: Options) -> str | None:
    """Read the letter in the form trusted most (alone at the start, at the end, after "answer is", (A),
    A., A:, A), A before a space, anywhere), and of several the last.
    """
    if not answer.strip():
        return None
    text = answer.strip()
    for mark in ",.!?;:'\"":
        text = text.strip(mark)
    text = f" {text} "
    found = [*_by_form(text, options), *_by_phrase(text, options), *_at_the_ends(text, options)]
    found = found or [(_ANYWHERE, text.rfind(letter), letter) for letter in options if letter in text]
    # Upstream's sort is stable and reversed: of equals, the one found first.
    return max(found, key=lambda each: each[:2])[2] if found else None


def _by_form(text: str, options: Options) -> list[tuple[int, int, str]]:
    return [
        (trust, text.rfind(form.format(letter)), letter)
        for form, trust in _FORMS
        for letter in options
        if form.format(letter) in text
    ]


def _by_phrase(text: str, options: Options) -> list[tuple[int, int, str]]:
    lower, found = text.lower(), []
    for phrase in _PHRASES:
        at = lower.find(phrase)
        if at != -1:
            places = ((text.find(letter, at + len(phrase)), letter) for letter in options)
            found += [(_PHRASE, place, letter) for place, letter in places if place != -1]
    return found


def _at_the_ends(text: str, options: Options) -> list[tuple[int, int, str]]:
    bare = text.strip()
    first = [(_START, 0, letter) for letter in options if bare.startswith(letter) and not bare[1:2].isalpha()]
    last = [
        (_END, len(text) - 1, letter)
        for letter in options
        if bare.endswith(letter) and not bare[-2:-1].isalpha()
    ]
    return first + last
