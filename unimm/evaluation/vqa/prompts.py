"""How a question becomes a prompt: the words of each protocol, verbatim.

Sources: https://github.com/cambrian-mllm/cambrian (539ffc3, `eval/eval/*/*_eval.py`), lmms-eval (75571cf,
`tasks/*`), VLMEvalKit (e8e78f0, `image_*.py`), https://github.com/MMMU-Benchmark/MMMU (bb0b95a), LLaVA
(c121f04). Where a benchmark's authors prescribe no prompt, "official" has LLaVA's, with which their scorers
are quoted. The picture stands before the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from unimm.evaluation.vqa.questions import Question

Form = Callable[[Question], str]

WORD = "Answer the question using a single word or phrase."
ONE_WORD = "Answer the question with a single word."
NUMBER = "Answer the question using a single number or phrase."
SHORT = "Give the short answer directly."
LETTER = "Answer with the option's letter from the given choices directly."
PRO_LETTER = "Answer with the option letter from the given choices directly."
PRO_LAST_LINE = (
    " The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) "
    "where LETTER is one of options."
)
ONLY_LETTER = "Please answer directly with only the letter of the correct option and nothing else."
_YES_OR_NO = " Please answer yes or no."
_IMAGE_TAG = re.compile(r"<image \d+>")


def plain(question: Question) -> str:
    """Ask nothing but the question."""
    return question.text


def bare(question: Question) -> str:
    """Ask nothing but the question, its options behind it in one line."""
    options = listed(question.options).replace("\n", " ")
    return " ".join(part for part in (question.text.strip(), options) if part)


def followed_by(suffix: str) -> Form:
    """Ask the question, then on a new line how to answer."""
    return lambda question: f"{question.text}\n{suffix}"


def without_yes_or_no(suffix: str) -> Form:
    """Ask MME's question less its own " Please answer yes or no."."""
    return lambda question: f"{question.text.strip().replace(_YES_OR_NO, '')}\n{suffix}"


def with_tokens(question: Question) -> str:
    """Ask TextVQA's question with the words that were read in the picture, Cambrian's wording."""
    tokens = f" {', '.join(question.tokens)}" if question.tokens else ""
    return f"{question.text}\nReference OCR tokens:{tokens}\n{WORD}"


def capitalised(question: Question) -> str:
    """Ask TextVQA's question as lmms-eval does: its first letter a capital, all others small."""
    return f"{question.text.capitalize()}\n{WORD}"


def capitalised_with_tokens(question: Question) -> str:
    """Ask the same with the words that were read in the picture, lmms-eval's wording."""
    return f"{question.text.capitalize()}\nReference OCR token: {', '.join(question.tokens)}\n{WORD}"


def listed(options: tuple[str, ...] | None) -> str:
    """Return "A. ..." and so on, a line each."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, options or (), strict=False))


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choice(suffix: str, opening: str = "", hint_end: str | None = None) -> Form:
    """Ask a choice.

    Args:
        suffix: the last line.
        opening: behind the question, before the options.
        hint_end: what parts a hint from the question; None leaves hints out.
    """

    def form(question: Question) -> str:
        hint = f"{question.hint}{hint_end}" if question.hint and hint_end is not None else ""
        return f"{hint}{question.text}{opening}\n{listed(question.options)}\n{suffix}"

    return form


def mmstar(suffix: str) -> Form:
    """Ask MMStar's question; its options stand in it, or are listed where the data has them apart."""
    return lambda question: (choice if question.options else _no_choice)(suffix)(question)


def _no_choice(suffix: str) -> Form:
    return lambda question: f"{question.text.strip()}\n{suffix}"


def lmms_scienceqa(question: Question) -> str:
    """Ask ScienceQA's question behind "Context: "."""
    context = f"Context: {question.hint}\n" if question.hint else ""
    return f"{context}{question.text}\n{listed(question.options)}\n{LETTER}"


def cambrian_mmmu(question: Question) -> str:
    """Ask MMMU's question without its "<image n>" tags."""
    form = followed_by(WORD) if question.options is None else choice(LETTER, " Options:")
    return _IMAGE_TAG.sub("", form(question)).strip()


def official_mmmu(question: Question) -> str:
    """Ask MMMU's question with empty lines around the options."""
    if question.options is None:
        return f"{question.text}\n\n{WORD}"
    return f"{question.text}\n\n{listed(question.options)}\n\n{LETTER}"


def lmms_mmmu(question: Question) -> str:
    """Ask MMMU's question with one empty line before the instruction."""
    if question.options is None:
        return f"{question.text}\n\n{WORD}"
    return f"{question.text}\n{listed(question.options)}\n\n{LETTER}"


def official_mmmu_pro(question: Question) -> str:
    """Ask MMMU-Pro's question directly; where it stands in the picture, with the form of the last line."""
    if not question.text:
        return PRO_LETTER + PRO_LAST_LINE
    return f"{question.text}\n{listed(question.options)}\n{PRO_LETTER}"


def lmms_mmmu_pro(question: Question) -> str:
    """Ask MMMU-Pro's question as lmms-eval does."""
    if not question.text:
        return PRO_LETTER
    return f"{question.text}\n{listed(question.options)}\n\n{PRO_LETTER}"


def vlmevalkit_choice(question: Question) -> str:
    """Ask a choice as VLMEvalKit does, the space before the last line's end included."""
    hint = f"Hint: {question.hint}\n" if question.hint else ""
    if not question.options:
        return f"{hint}Question: {question.text}\n"
    options = f"Options:\n{listed(question.options)}\n"
    request = "Please select the correct answer from the options above. \n"
    return f"{hint}Question: {question.text}\n{options}{request}"
