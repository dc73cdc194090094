"""Pictures to words: captions and answers, likeliest, by chance, or chosen among given ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimm.llm.decoding import Choose, decode, likeliest, sampled
from unimm.model.inputs import (
    batch_of,
    image_list,
    rows_of,
    tokenizer_of,
    user,
    with_latents,
)
from unimm.model.memory import row_bytes, spare_bytes, that_fit
from unimm.model.placing import device_of
from unimm.model.seeing import rows_read
from unimm.parts import IGNORED, Image, Text, Turn
from unimm.request import PASS, passes, positive, prompt_list, seed_rows
from unimm.text.chat import Rendered
from unimm.text.tokenizer import special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


@dataclass(frozen=True)
class Chance:
    """How words are chosen: the likeliest without a temperature, else by chance."""

    temperature: float | None = None
    top_p: float = 1.0
    seed: int | None = None  # of the first picture; the others take the numbers after it

    def choices(self, count: int) -> Callable[[slice], Choose]:
        """Return the choice for each slice of `count` rows."""
        if self.temperature is None:
            if self.top_p != 1:
                raise ValueError(f"top_p: it acts with a temperature, got {self.top_p} without one")
            return lambda piece: likeliest
        seeds = [row[0] for row in seed_rows(self.seed, count, 1, "pictures")]
        return lambda piece: sampled(self.temperature, self.top_p, seeds[piece])


def caption(model: UniMM, image: Any, max_new_tokens: int = 64, **chance: Any) -> str | list[str]:
    """Describe a picture, or each of a list; documented at `UniMM.caption`."""
    parts, request = image_list(image), model.config.settings.chat.caption_request
    said = _say(model, parts, [request] * len(parts), max_new_tokens, Chance(**chance))
    return said if _is_list(image) else said[0]


def answer(
    model: UniMM,
    image: Any,
    question: str | Sequence[str],
    choices: Sequence[str] | None = None,
    max_new_tokens: int = 32,
    **chance: Any,
) -> str | list[str]:
    """Answer a question about a picture; lists of either are answered pair by pair. See `UniMM.answer`."""
    parts, questions = image_list(image), prompt_list(question, "question")
    pairs = max(len(parts), len(questions))
    if {len(parts), len(questions)} - {1, pairs}:
        raise ValueError(
            f"question: expected one, or one for each of {len(parts)} pictures, got {len(questions)}"
        )
    parts, questions = with_latents(model, parts), questions * (pairs // len(questions))
    parts = parts * (pairs // len(parts))
    if choices is not None and chance:
        raise ValueError(f"choices: the likeliest of them is the answer, so {', '.join(chance)} cannot act")
    if choices is None:
        said = _say(model, parts, questions, max_new_tokens, Chance(**chance))
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
def _say(
    model: UniMM, parts: Sequence[Image], texts: Sequence[str], max_new_tokens: int, chance: Chance
) -> list[str]:
    """Return the model's words about each picture and text."""
    positive("max_new_tokens", max_new_tokens)
    tokenizer, marks = tokenizer_of(model), special_ids(tokenizer_of(model))
    parts, said, choices = with_latents(model, parts), [], chance.choices(len(parts))
    turns = [[user(part, text)] for part, text in zip(parts, texts, strict=True)]
    rows = rows_of(model, turns, open_turn=True)
    for piece in passes(len(rows), _together(model, rows, max_new_tokens)):
        batch = batch_of(model, rows[piece])
        room = model.config.settings.llm.context - batch.input_ids.shape[1]
        if room < 1:
            raise ValueError(
                "prompt: it fills the model's context and leaves no room for an answer; shorten it"
            )
        decoded = decode(
            rows_read(model, batch),
            [marks.turn_end],
            min(max_new_tokens, room),
            forbidden=(marks.image_start, marks.image_slot, marks.image_end),
            choose=choices(piece),
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
    size = _together(model, rows_of(model, turns, open_turn=False), 0)
    found = torch.cat([likelihood(model, turns[piece]) for piece in passes(len(turns), size)])
    return [choices[best] for best in found.unflatten(0, (-1, len(choices))).argmax(1).tolist()]


def _together(model: UniMM, rows: Sequence[Rendered], more: int) -> int:
    """Return how many rows are read in one pass, with so many positions to come: as many as fit memory."""
    llm = model.config.settings.llm
    length = min(max(len(row.ids) for row in rows) + more, llm.context)
    each = row_bytes(llm, length, model.dtype.itemsize) + 4 * 3 * llm.vocab_size  # logits, and two copies
    return min(PASS, that_fit(spare_bytes(device_of(model.llm)), each))


def _is_list(image: Any) -> bool:
    return isinstance(image, (list, tuple)) or (isinstance(image, Tensor) and image.ndim == 3)
