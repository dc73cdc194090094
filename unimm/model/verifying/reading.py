"""Reading prompt and picture one after the other: how sure, and how little surprised, the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimm.model.inputs import Request, fill, rows_of, tokenizer_of, user
from unimm.model.verifying.asking import Look
from unimm.model.verifying.rows import PromptRows, Reading
from unimm.parts import Image
from unimm.text.chat import open_image
from unimm.text.tokenizer import encode
from unimm.verify.positions import log_likelihood, row_means, self_certainty

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


def by_prompt_confidence(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[Look, int]:
    """Read the prompt as the picture's caption: the mean self-certainty at it.

    By the standard profile at the positions that predict its tokens; by the published one, one later.
    """
    rows, counts = _captions(model, requests, spare)
    ahead = _ahead(model)

    def look(latents: Tensor, owners: Sequence[int]) -> Tensor:
        read = rows.read(latents, owners)
        index, columns = _last_positions(read, [counts[owner] for owner in owners], ahead)
        certainty = rows.values(read.states[index, columns], lambda logits, _: self_certainty(logits))
        return row_means(certainty, index, len(owners))

    return look, rows.together


def by_prompt_likelihood(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[Look, int]:
    """Read the prompt as the picture's caption: the mean log probability of its tokens, nats.

    Where prompt confidence looks one position late, so does this: it then leaves out the first token, and is
    minus the prompt loss that the published code logs.

    Raises:
        ValueError: a prompt of one token, of which the published code leaves nothing.
    """
    rows, counts = _captions(model, requests, spare)
    scored = [count - (1 - _ahead(model)) for count in counts]
    if 0 in scored:
        raise ValueError(
            f"prompt: expected two tokens or more, as the profile leaves out the first, "
            f"got {requests[scored.index(0)].prompt!r}"
        )

    def look(latents: Tensor, owners: Sequence[int]) -> Tensor:
        read = rows.read(latents, owners)
        index, columns = _last_positions(read, [scored[owner] for owner in owners], ahead=1)
        tokens = read.batch.input_ids[index, columns + 1]
        states = read.states[index, columns]
        found = rows.values(states, lambda logits, which: log_likelihood(logits, tokens[which]))
        return row_means(found, index, len(owners))

    return look, rows.together


def by_image_confidence(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[Look, int]:
    """Put the picture back where it was drawn, after its prompt: the mean self-certainty at its latents.

    All that stands before them, the prompt included, is read once for all candidates.
    """
    settings, tokenizer = model.config.settings, tokenizer_of(model)
    template = settings.chat.generate_template
    turns = [[user(*each.pictures, fill(template, each.prompt))] for each in requests]
    asked = rows_of(model, turns, open_turn=True)
    rows = PromptRows(model, [open_image(row, tokenizer, settings.num_queries) for row in asked], spare)

    def look(latents: Tensor, owners: Sequence[int]) -> Tensor:
        states = rows.read(latents, owners).states
        certainty = rows.values(states.flatten(0, 1), lambda logits, _: self_certainty(logits))
        return certainty.double().unflatten(0, states.shape[:2]).mean(1)

    return look, rows.together


def _ahead(model: UniMM) -> int:
    """Return how many positions before a token the profile looks."""
    return 1 if model.profile.confidence_positions == "standard" else 0


def _captions(model: UniMM, requests: Sequence[Request], spare: int) -> tuple[PromptRows, list[int]]:
    """Return rows that end in the prompt as the picture's caption, and how many tokens each prompt has."""
    describe, tokenizer = model.config.settings.chat.caption_request, tokenizer_of(model)
    turns = [[user(*each.pictures, Image(), describe)] for each in requests]
    rows = rows_of(model, turns, open_turn=True)
    words = [encode(tokenizer, each.prompt) for each in requests]
    for row, ids in zip(rows, words, strict=True):
        row.add(ids, labelled=True)
    return PromptRows(model, rows, spare), [len(ids) for ids in words]


def _last_positions(read: Reading, counts: Sequence[int], ahead: int) -> tuple[Tensor, Tensor]:
    """Return row and column, each [K], of `ahead` positions before the last counts[m] of each row m."""
    device, ends = read.lengths.device, read.lengths.tolist()
    pairs = zip(ends, counts, strict=True)
    columns = [torch.arange(end - count, end, device=device) - ahead for end, count in pairs]
    index = torch.arange(len(ends), device=device).repeat_interleave(torch.tensor(counts, device=device))
    return index, torch.cat(columns)
