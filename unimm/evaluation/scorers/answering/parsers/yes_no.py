"""Readers of yes and no: `read(answer) -> "yes", "no", or None` where neither is read.

Sources: MME's eval_tool as carried by https://github.com/ByteDance-Seed/Bagel (056b5fd), lmms-eval
(75571cf, `mme`, `pope`), https://github.com/cambrian-mllm/cambrian (539ffc3), VLMEvalKit (e8e78f0,
`yorn.py`), https://github.com/RUCAIBox/POPE (3df3ba1) as carried by LLaVA (c121f04).
"""

from __future__ import annotations

from unimm.evaluation.scorers.answering.parsers.vqa_text import words_of

_HEAD = 4  # characters in which the official rule of MME looks


def _in_head(text: str) -> str | None:
    head = text[:_HEAD]
    return next((word for word in ("yes", "no") if word in head), None)


def _if_plain(text: str) -> str | None:
    return text if text in ("yes", "no") else None


def mme_official(answer: str) -> str | None:
    """Look for "yes", then "no", in the first four characters; not stripped, so "Now" is no."""
    return _in_head(answer.lower())


def mme_lmms_eval(answer: str) -> str | None:
    """Look in the first four characters after stripping and deleting periods; "y" and "n" count."""
    text = answer.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text)
    return _in_head(text)


def mme_cambrian(answer: str) -> str | None:
    """Take the whole answer, lower-cased, less periods at its end."""
    return _if_plain(mme_cambrian_text(answer))


def mme_cambrian_text(answer: str) -> str:
    """Return what Cambrian compares with the right answer of MME (and of GQA)."""
    return answer.lower().rstrip(".")


def vlmevalkit(answer: str) -> str | None:
    """Take the one of "yes" and "no" that stands among the words; both, or none, is unknown."""
    found = {"yes", "no"}.intersection(words_of(answer))
    return found.pop() if len(found) == 1 else None


def pope_official(answer: str) -> str:
    """Take "no" if No, no or not is a word of the first sentence, and yes for everything else."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"}.intersection(words) else "yes"


def pope_lmms_eval(answer: str) -> str | None:
    """Take the whole answer, lower-cased and stripped."""
    return _if_plain(answer.lower().strip())


def pope_cambrian(answer: str) -> str | None:
    """Take the first word less ".:," at its end; upstream an answer without words is an error."""
    words = answer.lower().split()
    return _if_plain(words[0].rstrip(".:,")) if words else None
