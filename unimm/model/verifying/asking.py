"""Asking the model whether a picture shows its prompt: what it answers, and how likely a yes was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from unimm.llm.shared import say
from unimm.model.inputs import Request, fill, rows_of, tokenizer_of, user
from unimm.model.verifying.rows import PromptRows
from unimm.parts import Image
from unimm.text.tokenizer import encode, special_ids
from unimm.verify.answer_logits import answer_logits
from unimm.verify.p_yes import p_yes

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

MAX_ANSWER_TOKENS = 8  # yes and no are one each; a talkative model may need a few before them
Look = Callable[[Tensor, Sequence[int]], Tensor]
"""Scores [M] of M candidates (latents [M N C], and the index of each one's prompt)."""


def by_answer_logits(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[Look, int]:
    """Let the model answer; see `unimm.verify.answer_logits`.

    The answer is read to its end, as the last yes or no counts; one that is a single word costs one further
    position per candidate.
    """
    rows, (yes, no) = _questions(model, requests, spare), _words(model)
    marks = special_ids(tokenizer_of(model))
    silent = (marks.image_start, marks.image_slot, marks.image_end)
    longest = min(MAX_ANSWER_TOKENS, rows.room + 1)  # the last token said need not be read

    def look(latents: Tensor, owners: Sequence[int]) -> Tensor:
        read = rows.read(latents, owners)
        said = say(read.branches, read.last(), rows.embed_tokens, marks.turn_end, longest, silent)
        return answer_logits(said.tokens, said.logits, yes, no)

    return look, rows.together


def by_p_yes(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[Look, int]:
    """Ask how likely an answer is to begin with yes rather than no; see `unimm.verify.p_yes`."""
    rows, (yes, no) = _questions(model, requests, spare), _words(model)

    def look(latents: Tensor, owners: Sequence[int]) -> Tensor:
        return p_yes(model.llm.lm_head(rows.read(latents, owners).last()), yes, no)

    return look, rows.together


def word_ids(model: UniMM, word: str) -> list[int]:
    """Return the tokens that mean a word: yes, Yes or YES, with or without a space before it.

    Of each spelling that is the token it begins with; where the profile pools, as the published code does,
    every token of it.
    """
    tokenizer, found = tokenizer_of(model), set()
    for form in (word, word.capitalize(), word.upper()):
        for spelling in (form, " " + form):
            ids = encode(tokenizer, spelling)
            first = next(place for place, token in enumerate(ids) if tokenizer.decode([token]).strip())
            found.update(ids if model.profile.pools_answer_words else ids[first : first + 1])
    return sorted(found)


def _words(model: UniMM) -> tuple[list[int], list[int]]:
    return word_ids(model, "yes"), word_ids(model, "no")


def _questions(model: UniMM, requests: Sequence[Request], spare: int) -> PromptRows:
    """Return rows that ask about the picture before the question; those of the request come before it."""
    question = model.config.settings.chat.verifier_question
    turns = [[user(*each.pictures, Image(), fill(question, each.prompt))] for each in requests]
    return PromptRows(model, rows_of(model, turns, open_turn=True), spare)
