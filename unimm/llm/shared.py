"""Rows that begin alike: their beginning is read once, and each goes on from it for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, Qwen2ForCausalLM
from transformers.cache_utils import DynamicLayer

from unimm.llm.decoding import llm_states, words


class Beginnings:
    """Keys and values of U different beginnings, right-padded to L positions."""

    @torch.no_grad()
    def __init__(self, llm: Qwen2ForCausalLM, embeds: Tensor, lengths: Tensor) -> None:
        """Read the beginnings.

        Args:
            llm: the language model.
            embeds: [U L D].
            lengths: [U] real positions of each, 1 or more.
        """
        self.llm, self.lengths = llm, lengths
        cache = DynamicCache(config=llm.config)
        llm_states(llm, embeds, past_key_values=cache, use_cache=True)
        self.layers = [(layer.keys, layer.values) for layer in cache.layers]

    def branch(self, owners: Tensor) -> Branches:
        """Return M rows, of which row m goes on from beginning owners[m]."""
        return Branches(self, owners)


class Branches:
    """M rows under way; the beginnings are held once, whatever M is."""

    def __init__(self, beginnings: Beginnings, owners: Tensor) -> None:
        self.llm = beginnings.llm
        self._layers = [_BranchLayer(keys, values, owners) for keys, values in beginnings.layers]
        self._cache = Cache(layers=self._layers)
        shared = beginnings.layers[0][0].shape[-2]
        self.lengths = beginnings.lengths[owners]  # [M] real positions so far
        self._mask = torch.arange(shared, device=owners.device) < self.lengths[:, None]

    @torch.no_grad()
    def extend(self, embeds: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Read embeddings [M R D], right-padded, after what each row holds; return their states [M R D].

        Args:
            embeds: what comes next.
            lengths: [M] real positions of each row; None is all of them.
        """
        rows, new = embeds.shape[:2]
        offsets = torch.arange(new, device=embeds.device)
        lengths = torch.full((rows,), new, device=embeds.device) if lengths is None else lengths
        self._mask = torch.cat([self._mask, offsets < lengths[:, None]], dim=1)
        states = self.llm.model(
            inputs_embeds=embeds,
            attention_mask=self._mask,
            position_ids=self.lengths[:, None] + offsets,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self.lengths = self.lengths + lengths
        return states

    def select(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        self.lengths, self._mask = self.lengths[rows], self._mask[rows]
        for layer in self._layers:
            layer.batch_select_indices(rows)


class _BranchLayer(DynamicLayer):
    """One layer's own keys and values of M rows; the shared ones join them only while they are looked at."""

    def __init__(self, keys: Tensor, values: Tensor, owners: Tensor) -> None:
        super().__init__()
        self._shared, self._owners = (keys, values), owners

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple:
        own = super().update(key_states, value_states, *args, **kwargs)
        pairs = zip(self._shared, own, strict=True)
        return tuple(torch.cat([self._begin(shared), each], dim=-2) for shared, each in pairs)

    def get_seq_length(self) -> int:
        return self._shared[0].shape[-2] + super().get_seq_length()

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._owners = self._owners[indices]

    def _begin(self, shared: Tensor) -> Tensor:
        """Return the beginning of every row, [M heads L head_dim]; a view where there is but one."""
        one = len(shared) == 1
        return shared.expand(len(self._owners), -1, -1, -1) if one else shared[self._owners]


class Said(NamedTuple):
    """What rows said; positions after a row's end hold the end token and logit 0."""

    tokens: Tensor  # [M K] int64
    logits: Tensor  # [M K] raw, of the tokens that were chosen


@torch.no_grad()
def say(
    branches: Branches,
    last: Tensor,
    embed: Callable[[Tensor], Tensor],
    end: int,
    max_new_tokens: int,
    forbidden: Sequence[int] = (),
) -> Said:
    """Continue each row with its most likely tokens until `end` or `max_new_tokens`.

    Of the logits only those of the chosen tokens are kept.

    Args:
        branches: M rows that were read to their ends.
        last: [M D] the states there.
        embed: token ids [M 1] to embeddings [M 1 D].
        end: id of the token that ends a row; it is part of what is said.
        max_new_tokens: 1 or more.
        forbidden: ids that are never chosen.
    """
    tokens = torch.full((len(last), max_new_tokens), end, device=last.device)
    logits = torch.zeros(len(last), max_new_tokens, device=last.device)
    for step, word in enumerate(words(branches, last, embed, [end], max_new_tokens, forbidden)):
        tokens[word.rows, step] = word.tokens
        logits[word.rows, step] = word.logits.gather(-1, word.tokens[:, None])[:, 0].float()
    return Said(tokens[:, : step + 1], logits[:, : step + 1])
