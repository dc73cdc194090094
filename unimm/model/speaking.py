"""Pictures to words: captions and answers, greedy or chosen among given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.llm.decoding import greedy
from unimm.model.inputs import (
    batch_of,
    image_list,
    rows_of,
    tokenizer_of,
    user,
    with_latents,
)
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.request import passes, positive, prompt_list
from unimm.text.tokenizer import special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


def caption(model: UniMM, image: Any, max_new_tokens: int = 64) -> str | list[str]:
    """Describe a picture, or each of a list."""
    parts = image_list(image)
    said = _say(model, parts, [model.config.settings.chat.caption_request] * len(parts), max_new_tokens)
    return said if _is_list(image) else said[0]


def answer(
    model: UniMM,
    image: Any,
    question: str | Sequence[str],
    choices: Sequence[str] | None = None,
    max_new_tokens: int = 32,
) -> str | list[str]:
    """Answer a question about a picture; lists of either are answered pair by pair."""
    parts, questions = image_list(image), prompt_list(question, "question")
    pairs = max(len(parts), len(questions))
    if {len(parts), len(questions)} - {1, pairs}:
        raise ValueError(
            f"question: expected one, or one for each of {len(parts)} pictures, got {len(questions)}"
        )
    parts, questions = with_latents(model, parts), questions * (pairs // len(questions))
    parts = parts * (pairs // len(parts))
    if choices is None:
        said = _say(model, parts, questions, max_new_tokens)
    else:
        said = _choose(model, parts, questions, prompt_list(choices, "choices"))
    return said if _is_list(image) or not isinstance(question, str) else said[0]


@torch.no_grad()
def likelihood(model: UniMM, conversations: Sequence[Sequence[Turn]]) -> Tensor:
    """Return the log probability, nats, float32 [B], of all that the assistant says in each conversation."""
    batch = batch_of(model, rows_of(model, conversations, open_turn=False))
    rows, columns = torch.nonzero(batch.labels[:, 1:] != IGNORED, as_tuple=True)
    logits = model.llm.lm_head(model(batch)[rows, columns]).float()
    found = logits.log_softmax(-1).gather(-1, batch.labels[rows, columns + 1][:, None])[:, 0]
    return torch.zeros(len(conversations), device=found.device).index_add_(0, rows, found)


@torch.no_grad()
def _say(model: UniMM, parts: Sequence[Image], texts: Sequence[str], max_new_tokens: int) -> list[str]:
    """Return the model's words about each picture and text."""
    positive("max_new_tokens", max_new_tokens)
    tokenizer, marks = tokenizer_of(model), special_ids(tokenizer_of(model))
    parts, said = with_latents(model, parts), []
    for piece in passes(len(parts)):
        pairs = zip(parts[piece], texts[piece], strict=True)
        rows = rows_of(model, [[user(part, text)] for part, text in pairs], open_turn=True)
        batch = batch_of(model, rows)
        room = model.config.settings.llm.context - batch.input_ids.shape[1]
        if room < 1:
            raise ValueError(
                "prompt: it fills the model's context and leaves no room for an answer; shorten it"
            )
        decoded = greedy(
            model.llm,
            model.embed(batch),
            batch.attention_mask.sum(1),
            marks.turn_end,
            min(max_new_tokens, room),
            forbidden=(marks.image_start, marks.image_slot, marks.image_end),
        )
        said += tokenizer.batch_decode(decoded.tokens, skip_special_tokens=True)
    return [text.strip() for text in said]


def _choose(
    model: UniMM, parts: Sequence[Image], questions: Sequence[str], choices: Sequence[str]
) -> list[str]:
    """Return the likeliest of the choices for each pair."""
    turns = [
        [user(part, question), Turn("assistant", (Text(choice),))]
        for part, question in zip(parts, questions, strict=True)
        for choice in choices
    ]
    found = torch.cat([likelihood(model, turns[piece]) for piece in passes(len(turns))])
    return [choices[best] for best in found.unflatten(0, (-1, len(choices))).argmax(1).tolist()]


def _is_list(image: Any) -> bool:
    return isinstance(image, (list, tuple)) or (isinstance(image, Tensor) and image.ndim == 3)
