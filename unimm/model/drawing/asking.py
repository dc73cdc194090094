"""What the LLM intends to draw: prompts and pictures in, conditions out, each distinct request read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unimm.llm.decoding import decode
from unimm.llm.splice import gather
from unimm.model.inputs import (
    Request,
    batch_of,
    check_length,
    fill,
    rows_of,
    tokenizer_of,
    user,
)
from unimm.model.seeing import rows_read
from unimm.parts import Run
from unimm.request import passes
from unimm.tables import pick
from unimm.text.chat import Rendered, open_image
from unimm.text.tokenizer import special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

MAX_WORDS = 128
"""Tokens that a model may say before it opens a picture, where it decides itself."""

ImageStart = Literal["forced", "model"]


class AnsweredInText(ValueError):
    """Prompts that the model answered in words, though it was asked to draw; nothing of the call was drawn.

    `prompts` holds all that were asked; `texts` the answer to each that was answered so, by its place among
    them: the others can be asked again alone.
    """

    def __init__(self, prompts: Sequence[str], texts: dict[int, str]) -> None:
        self.prompts, self.texts = list(prompts), texts
        said = "; ".join(f"{prompts[place]!r} was answered {text!r}" for place, text in texts.items())
        super().__init__(
            f"prompt: the model answered in text instead of drawing: {said}. Ask for a picture in words, or "
            "leave image_start at 'forced'"
        )


@dataclass(frozen=True)
class Intentions:
    """What the model intends to draw for R requests."""

    conditions: Tensor  # [U Q Z] of the U distinct ones
    owners: list[int]  # R places among the U
    texts: list[str]  # R: what it said before the picture; "" where the picture was forced

    def of(self, requests: Sequence[int]) -> list[int]:
        """Return the places among the U of some of the requests."""
        return [self.owners[request] for request in requests]


def conditions_of(model: UniMM, prompts: Sequence[str]) -> Tensor:
    """Return the conditions [P Q Z] of prompts, a picture's start forced after each."""
    found = intentions_of(model, [Request(prompt) for prompt in prompts])
    return found.conditions[found.owners]


@torch.no_grad()
def intentions_of(
    model: UniMM,
    requests: Sequence[Request],
    image_start: ImageStart = "forced",
    batch_size: int | None = None,
) -> Intentions:
    """Return what the model intends to draw; requests that are the same are read once.

    A request and its queries are read in one causal pass. To read the requests first and then the queries
    from a cache is the same multiply-accumulates, as every position looks back on the same ones, and more
    kernels and copies. Rows of like length go together; padding stands at the right, where no position looks.

    Args:
        image_start: a row of STARTS.

    Raises:
        ValueError: a request longer than the context.
        AnsweredInText: the model, which was left to decide, did not open a picture.
    """
    start = pick("image_start", image_start, STARTS)
    distinct = {request.key: request for request in requests}
    places = {key: place for place, key in enumerate(distinct)}
    owners = [places[request.key] for request in requests]
    rows = _rows(model, list(distinct.values()))
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    found = [start(model, [rows[i] for i in order[piece]]) for piece in passes(len(order), batch_size)]
    back = torch.tensor(order).argsort()
    conditions = torch.cat([conditions for conditions, _ in found])
    said = [spoken for _, spokens in found for spoken in spokens]
    texts = [said[place].text for place in back.tolist()]
    silent = {i: texts[u] for i, u in enumerate(owners) if not said[int(back[u])].drew}
    if silent:
        raise AnsweredInText([request.prompt for request in requests], silent)
    return Intentions(conditions[back.to(conditions.device)], owners, [texts[owner] for owner in owners])


@dataclass(frozen=True)
class Spoken:
    """What a model said before it drew, or instead."""

    text: str
    drew: bool


Start = tuple[Tensor, list[Spoken]]


def start_forced(model: UniMM, rows: Sequence[Rendered]) -> Start:
    """Return the conditions [B Q Z] of rows that end in an open turn: a picture is opened in each."""
    return _opened(model, rows)[0], [Spoken("", True)] * len(rows)


def start_decided(model: UniMM, rows: Sequence[Rendered]) -> Start:
    """Return the conditions [B Q Z] of rows in which the model opens a picture, and what it says before.

    A picture is opened in each row at once, and the state before it tells whether the model would have opened
    one there; so a model that draws at once costs no more than a forced start. The others are heard out, and
    what they say is added to their rows.
    """
    conditions, last = _opened(model, rows)
    marks = special_ids(tokenizer_of(model))
    drew = (_logits(model, last).argmax(-1) == marks.image_start).tolist()
    spoken = [Spoken("", True)] * len(rows)
    others = [index for index, draws in enumerate(drew) if not draws]
    if not others:
        return conditions, spoken
    answers = _said(model, [rows[index] for index in others])
    for index, (tokens, draws) in zip(others, answers, strict=True):
        text = tokenizer_of(model).decode(tokens, skip_special_tokens=True).strip()
        spoken[index] = Spoken(text, draws)
        if draws:
            rows[index].add(tokens, labelled=False)
            conditions[index] = _opened(model, [rows[index]])[0][0]
    return conditions, spoken


STARTS = {"forced": start_forced, "model": start_decided}
"""How a picture begins: opened after the prompt, or where the model opens it."""


def _rows(model: UniMM, requests: Sequence[Request]) -> list[Rendered]:
    """Return requests as rows that end in an open turn, with room for a picture."""
    settings = model.config.settings
    turns = [
        [user(*request.pictures, fill(settings.chat.generate_template, request.prompt))]
        for request in requests
    ]
    rows = rows_of(model, turns, open_turn=True)
    check_length(model, max(len(row.ids) for row in rows) + 1 + settings.num_queries)
    return rows


def _opened(model: UniMM, rows: Sequence[Rendered]) -> tuple[Tensor, Tensor]:
    """Return the conditions [B Q Z] of rows with a picture opened, and the states [B D] before it."""
    num_queries = model.config.settings.num_queries
    rows = [open_image(row, tokenizer_of(model), num_queries) for row in rows]
    batch = batch_of(model, rows)
    states, runs = model(batch), batch.query_runs
    before = gather(states, [Run(run.row, run.start - 2, 1) for run in runs])[:, 0]
    return model.connector(gather(states, runs)), before


def _said(model: UniMM, rows: Sequence[Rendered]) -> list[tuple[list[int], bool]]:
    """Return the tokens that the model says after each row, and whether it then opens a picture."""
    marks, batch = special_ids(tokenizer_of(model)), batch_of(model, rows)
    room = (
        model.config.settings.llm.context - batch.input_ids.shape[1] - 2 - model.config.settings.num_queries
    )
    decoded = decode(
        rows_read(model, batch),
        (marks.turn_end, marks.image_start),
        max(1, min(MAX_WORDS, room)),
        forbidden=_unsaid(marks),
    )
    found = []
    for tokens in decoded.tokens.tolist():
        ends = [i for i, token in enumerate(tokens) if token in (marks.turn_end, marks.image_start)]
        drew = bool(ends) and tokens[ends[0]] == marks.image_start
        found.append((tokens[: ends[0]] if ends else tokens, drew))
    return found


def _logits(model: UniMM, states: Tensor) -> Tensor:
    unsaid = torch.tensor(_unsaid(special_ids(tokenizer_of(model))), device=states.device)
    return model.llm.lm_head(states).index_fill(-1, unsaid, -torch.inf)


def _unsaid(marks: Any) -> tuple[int, ...]:
    """Return the marks that no speaker says."""
    return marks.image_slot, marks.image_end, marks.turn_start, marks.pad
