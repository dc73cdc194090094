"""Candidates read in the same words: each prompt is tokenized once, and what stands before its pictures is
read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimm.llm.shared import Beginnings, Branches
from unimm.model.inputs import check_length, seen_latents, tokenizer_of
from unimm.model.memory import row_bytes, that_fit
from unimm.model.placing import device_of
from unimm.model.seeing import reading
from unimm.parts import Batch, Image
from unimm.request import PASS, passes
from unimm.text.chat import Rendered, Slots, collate
from unimm.text.tokenizer import special_ids

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


@dataclass(frozen=True)
class Reading:
    """M rows after they were read: what follows their beginnings, right-padded to R positions."""

    branches: Branches
    batch: Batch  # rests of the rows, [M R]
    states: Tensor  # [M R D]
    lengths: Tensor  # [M] real positions of the rests

    def last(self) -> Tensor:
        """Return the state [M D] at the end of each row."""
        return self.states[torch.arange(len(self.states), device=self.states.device), self.lengths - 1]


class PromptRows:
    """One row per prompt; its last picture is a place into which candidates are put."""

    def __init__(self, model: UniMM, rows: Sequence[Rendered], spare: int) -> None:
        """Cut each row before its last picture.

        Args:
            model: whose LLM reads them.
            rows: P rows; what other pictures are in them carry latents.
            spare: bytes that a pass may take.

        Raises:
            ValueError: a row longer than the model's context.
        """
        check_length(model, max(len(row.ids) for row in rows))
        self.model, self.spare = model, spare
        begins = {_key(begin): begin for begin in map(_begin, rows)}
        places = {key: place for place, key in enumerate(begins)}
        self._begins, self._places = list(begins.values()), [places[_key(_begin(row))] for row in rows]
        self._rests = [_rest(row) for row in rows]
        self._read: tuple[list[int], Beginnings] | None = None
        longest, llm = max(len(row.ids) for row in rows), model.config.settings.llm
        self.room = llm.context - longest
        self.together = min(PASS, that_fit(spare, row_bytes(llm, longest, model.dtype.itemsize)))

    def read(self, latents: Tensor, owners: Sequence[int]) -> Reading:
        """Read M pictures (latents [M N C] as they are seen), each in the row of its owner, a prompt."""
        places = [self._places[owner] for owner in owners]
        needed = list(dict.fromkeys(places))
        beginnings = self._beginnings(needed)
        device = beginnings.lengths.device
        branches = beginnings.branch(torch.tensor([needed.index(place) for place in places], device=device))
        batch = self._batch([self._rests[owner] for owner in owners], latents)
        lengths = batch.attention_mask.sum(1)
        with reading(self.model, batch):
            states = branches.extend(self.model.embed(batch), lengths)
        return Reading(branches, batch, states, lengths)

    def values(self, states: Tensor, value: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Return `value(logits [k V], which)`, [K], of states [K D]: never more logits at a time than fit."""
        head, vocabulary = self.model.llm.lm_head, self.model.config.settings.llm.vocab_size
        size = that_fit(self.spare, 4 * vocabulary * 4)  # logits, their float32 copy, and two temporaries
        return torch.cat([value(head(states[piece]), piece) for piece in passes(len(states), size)])

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Return embeddings [M 1 D] of tokens [M 1]."""
        return self.model.embed(Batch(ids, ids, torch.ones_like(ids, dtype=torch.bool)))

    def _beginnings(self, places: list[int]) -> Beginnings:
        """Read different beginnings, by their places, unless they are those that were read last."""
        if self._read is None or self._read[0] != places:
            begins = [self._begins[place] for place in places]
            seen = [part for begin in begins for part in begin.images]
            batch = self._batch(begins, seen_latents(self.model, seen) if seen else None)
            lengths = batch.attention_mask.sum(1)
            rounds = self.model.profile.rounds_embeddings  # whether or not a picture is in this part of a row
            embeds = self.model.embed(batch, rounds)
            with reading(self.model, batch, rounds):
                self._read = places, Beginnings(self.model.llm, embeds, lengths)
        return self._read[1]

    def _batch(self, rows: Sequence[Rendered], latents: Tensor | None = None) -> Batch:
        device, dtype = device_of(self.model.llm), self.model.dtype
        pad = special_ids(tokenizer_of(self.model)).pad
        return collate(rows, pad, None if latents is None else latents.to(device, dtype)).to(device)


def _begin(row: Rendered) -> Rendered:
    """Return a row up to its last picture."""
    start = row.runs[-1].start
    return Rendered(row.ids[:start], row.labels[:start], row.runs[:-1], row.images[:-1])


def _key(begin: Rendered) -> tuple:
    """Return what is the same for beginnings that are the same."""
    return *begin.ids, *(id(part) for part in begin.images)


def _rest(row: Rendered) -> Rendered:
    """Return a row from its last picture on; the picture's place is a seen one."""
    slots = row.runs[-1]
    start = slots.start
    return Rendered(row.ids[start:], row.labels[start:], [Slots(0, slots.length, False)], [Image()])
