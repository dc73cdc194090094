"""Running the language model: states of right-padded rows, a cache that can forget, and greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM


def llm_states(llm: Qwen2ForCausalLM, embeds: Tensor, **kwargs: Any) -> Tensor:
    """Return the states [B T D], final norm included, of embeddings [B T D] from position 0 on.

    No mask is built: with padding at the right, causal attention already keeps it from every real position.
    """
    mask = {"full_attention": None} if llm.config._attn_implementation != "eager" else None
    return llm.model(inputs_embeds=embeds, attention_mask=mask, **kwargs).last_hidden_state


class Memory:
    """Keys and values of one growing sequence, which can be cut back to any earlier length."""

    def __init__(self, llm: Qwen2ForCausalLM) -> None:
        self._llm = llm
        self._cache = DynamicCache(config=llm.config)

    def __len__(self) -> int:
        return self._cache.get_seq_length()

    @torch.no_grad()
    def extend(self, embeds: Tensor) -> Tensor:
        """Read embeddings [1 T D] after what was read before; return their states [1 T D]."""
        return self._llm.model(
            inputs_embeds=embeds, past_key_values=self._cache, use_cache=True
        ).last_hidden_state

    def cut(self, length: int) -> None:
        """Forget everything from position `length` on."""
        if not 0 <= length <= len(self):
            raise ValueError(f"length: expected 0 to {len(self)}, got {length}")
        if length < len(self):
            self._cache.crop(length - len(self))


class Decoded(NamedTuple):
    """What was said, row by row; positions after a row's end hold the end token."""

    tokens: Tensor  # [B L] int64
    logits: Tensor  # [B L V] raw, those the tokens were chosen from


@torch.no_grad()
def greedy(
    llm: Qwen2ForCausalLM,
    embeds: Tensor,
    lengths: Tensor,
    end: int,
    max_new_tokens: int,
    forbidden: Sequence[int] = (),
) -> Decoded:
    """Continue each row with its most likely tokens until `end` or `max_new_tokens`.

    Args:
        llm: the language model.
        embeds: [B T D] right-padded rows.
        lengths: [B] real positions of each row.
        end: id of the token that ends a row; it is part of the answer.
        max_new_tokens: 1 or more.
        forbidden: ids that are never chosen.
    """
    cache = DynamicCache(config=llm.config)
    states = llm_states(llm, embeds, past_key_values=cache, use_cache=True)
    last = states[torch.arange(len(states), device=states.device), lengths - 1]
    mask = torch.arange(embeds.shape[1], device=embeds.device) < lengths[:, None]
    positions, done = lengths[:, None], torch.zeros_like(lengths, dtype=torch.bool)
    tokens, logits = [], []
    for step in range(max_new_tokens):
        logits.append(llm.lm_head(last))
        tokens.append(torch.where(done, end, _choose(logits[-1], forbidden)))
        done = done | (tokens[-1] == end)
        if done.all() or step + 1 == max_new_tokens:
            break
        mask = torch.nn.functional.pad(mask, (0, 1), value=True)
        last = llm.model(
            input_ids=tokens[-1][:, None],
            attention_mask=mask,
            position_ids=positions + step,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    return Decoded(torch.stack(tokens, dim=1), torch.stack(logits, dim=1))


def _choose(logits: Tensor, forbidden: Sequence[int]) -> Tensor:
    """Return the largest of logits [B V] that is not forbidden, [B]."""
    if forbidden:
        logits = logits.index_fill(-1, torch.tensor(forbidden, device=logits.device), -torch.inf)
    return logits.argmax(dim=-1)
