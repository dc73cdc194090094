"""MMMU's, MMMU-Pro's and lmms-eval's readers of the letter of an MMMU question.

Sources: https://github.com/MMMU-Benchmark/MMMU (bb0b95a, `mmmu/utils/eval_utils.py`,
`mmmu-pro/evaluate.py`), lmms-eval (75571cf, `mmmu_mcq_utils.py`). Where these fall back to a random choice,
the readers give None.
"""

from __future__ import annotations

from unimm.evaluation.scorers.answering.parsers.letters import Options

_STRIPPED = ",.!?;:'"  # one after the other, in this order
_MIN_WORDS = 5  # options' texts are looked for in longer answers only
_BRACKETS, _WORD, _BEFORE_SPACE, _BEFORE_PERIOD = "({})", " {} ", "{} ", "{}."


def mmmu(answer: str, options: Options) -> str | None:
    """Read "(X)", else X between spaces, else an option's text; of several the one that comes last."""
    text = _padded(answer)
    return _last(text, options, _BRACKETS) or _last(text, options, _WORD) or _last_text(text, options)


def lmms_eval(answer: str, options: Options) -> str | None:
    """Read "(X)", else X before a space (so the last letter of "BA " too), else "X.", else a text."""
    text = _padded(answer)
    return (
        _last(text, options, _BRACKETS)
        or _last(text, options, _BEFORE_SPACE, _WORD)
        or _last(text, options, _BEFORE_PERIOD, _WORD)
        or _last_text(text, options)
    )


def mmmu_pro(answer: str, options: Options) -> str | None:
    """Read the only letter that occurs after the last "Answer:", else as `lmms_eval` does."""
    _, found, tail = answer.rpartition("Answer:")
    letters = [letter for letter in options if found and letter in tail.strip()]
    return letters[0] if len(letters) == 1 else lmms_eval(answer, options)


def _padded(answer: str) -> str:
    for mark in _STRIPPED:
        answer = answer.strip(mark)
    return f" {answer} "


def _last(text: str, options: Options, found: str, ranked: str | None = None) -> str | None:
    """Return the letter in the form `found`, of several that whose form `ranked` comes last.

    Where no letter has the form `ranked`, it is the first of them, as upstream.
    """
    letters = [letter for letter in options if found.format(letter) in text]
    form = ranked or found
    return max(letters, key=lambda letter: text.rfind(form.format(letter)), default=None)


def _last_text(text: str, options: Options) -> str | None:
    if len(text.split()) <= _MIN_WORDS:
        return None
    lower = text.lower()
    letters = [letter for letter, option in options.items() if option and option.lower() in lower]
    return max(letters, key=lambda letter: lower.rfind(options[letter].lower()), default=None)
