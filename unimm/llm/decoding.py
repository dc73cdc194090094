"""Running the language model: states of right-padded rows, a cache that can forget, and decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM, TemperatureLogitsWarper, TopPLogitsWarper

from unimm.llm.attention import packed_arguments, segments_of
from unimm.parts import Run
from unimm.request import generator_of


def llm_states(llm: Qwen2ForCausalLM, embeds: Tensor, samples: Sequence[Run] = (), **kwargs: Any) -> Tensor:
    """Return the states [B T D], final norm included, of embeddings [B T D] from position 0 on.

    No mask is built: with padding at the right, causal attention already keeps it from every real position.
    Where `samples` share rows, positions begin again with each, and none sees another.
    """
    implementation = llm.config._attn_implementation
    if samples:
        segments = segments_of(samples, embeds.shape[:2], embeds.device)
        kwargs |= packed_arguments(implementation, segments, embeds.dtype)
    else:
        kwargs["attention_mask"] = None if implementation == "eager" else {"full_attention": None}
    return llm.model(inputs_embeds=embeds, **kwargs).last_hidden_state


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


class Rows:
    """B right-padded rows under way, each with its own keys and values."""

    @torch.no_grad()
    def __init__(self, llm: Qwen2ForCausalLM, embeds: Tensor, lengths: Tensor) -> None:
        """Read the rows.

        Args:
            llm: the language model.
            embeds: [B T D].
            lengths: [B] real positions of each row, 1 or more.
        """
        self.llm, self.lengths = llm, lengths
        self._cache = DynamicCache(config=llm.config)
        states = llm_states(llm, embeds, past_key_values=self._cache, use_cache=True)
        self.last = states[torch.arange(len(states)), (lengths - 1).to(states.device)]
        """[B D], the states at the rows' ends."""
        self._mask = torch.arange(embeds.shape[1], device=embeds.device) < lengths[:, None]

    @torch.no_grad()
    def extend(self, embeds: Tensor) -> Tensor:
        """Read one more position of each row, [B 1 D]; return its states."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=True)
        states = self.llm.model(
            inputs_embeds=embeds,
            attention_mask=self._mask,
            position_ids=self.lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self.lengths = self.lengths + 1
        return states

    def select(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        self.lengths, self._mask = self.lengths[rows], self._mask[rows]
        self._cache.batch_select_indices(rows)


class Word(NamedTuple):
    """One more token of the rows that had not ended."""

    rows: Tensor  # [A] which of the B rows
    tokens: Tensor  # [A] int64
    logits: Tensor  # [A V] raw, those the tokens were chosen from


Choose = Callable[[Tensor, Tensor], Tensor]
"""`choose(logits [A V], rows [A]) -> [A]`, the next token of each row."""


def likeliest(logits: Tensor, rows: Tensor) -> Tensor:
    """Return the most likely tokens."""
    return logits.argmax(dim=-1)


@torch.no_grad()
def words(
    rows: Any,
    last: Tensor,
    embed: Callable[[Tensor], Tensor],
    ends: Sequence[int],
    max_new_tokens: int,
    forbidden: Sequence[int] = (),
    choose: Choose = likeliest,
) -> Iterator[Word]:
    """Yield the next token of every row until all have ended; rows that have ended are not read on.

    Args:
        rows: B rows that were read to their ends: `Rows`, or anything with its `llm`, `extend` and `select`.
        last: [B D] the states there.
        embed: token ids [A 1] to embeddings [A 1 D].
        ends: ids of the tokens that end a row; they are part of what is said.
        max_new_tokens: 1 or more.
        forbidden: ids that are never chosen.
        choose: how a token is chosen.
    """
    alive = torch.arange(len(last), device=last.device)
    last_words = torch.tensor(list(ends), dtype=torch.long, device=last.device)
    unsaid = torch.tensor(list(forbidden), dtype=torch.long, device=last.device)
    for step in range(max_new_tokens):
        logits = rows.llm.lm_head(last)
        tokens = choose(logits.index_fill(-1, unsaid, -torch.inf), alive)
        yield Word(alive, tokens, logits)
        going = (~torch.isin(tokens, last_words)).nonzero()[:, 0]
        if not len(going) or step + 1 == max_new_tokens:
            return
        if len(going) < len(alive):
            rows.select(going)
            alive, tokens = alive[going], tokens[going]
        last = rows.extend(embed(tokens[:, None]))[:, -1]


class Decoded(NamedTuple):
    """What was said, row by row; positions after a row's end repeat its end, with logits of 0."""

    tokens: Tensor  # [B L] int64
    logits: Tensor | None  # [B L V] raw, those the tokens were chosen from; None if they were not kept


@torch.no_grad()
def decode(
    rows: Rows,
    ends: Sequence[int],
    max_new_tokens: int,
    forbidden: Sequence[int] = (),
    choose: Choose = likeliest,
    keep_logits: bool = False,
) -> Decoded:
    """Continue rows that were read until their ends or `max_new_tokens`.

    Args:
        rows: B of them.
        keep_logits: whether the logits are kept; for 64 rows, 64 tokens and a vocabulary of 151,667 they are
            2.5 GB.

    Others as in `words`.
    """
    embed, count = rows.llm.get_input_embeddings(), len(rows.last)
    tokens = rows.last.new_full((count, 0), 0, dtype=torch.long)
    logits = []
    for word in words(rows, rows.last, embed, ends, max_new_tokens, forbidden, choose):
        before = tokens[:, -1:] if tokens.shape[1] else tokens.new_zeros(count, 1)
        tokens = torch.cat([tokens, before], dim=1)
        tokens[word.rows, -1] = word.tokens
        if keep_logits:
            kept = word.logits.new_zeros(count, word.logits.shape[-1])
            logits.append(kept.index_copy_(0, word.rows, word.logits))
    return Decoded(tokens, torch.stack(logits, dim=1) if keep_logits else None)


def greedy(
    llm: Qwen2ForCausalLM,
    embeds: Tensor,
    lengths: Tensor,
    end: int,
    max_new_tokens: int,
    forbidden: Sequence[int] = (),
) -> Decoded:
    """Continue right-padded rows [B T D] of `lengths` [B] with their most likely tokens, logits kept."""
    return decode(Rows(llm, embeds, lengths), [end], max_new_tokens, forbidden, keep_logits=True)


def sampled(temperature: float, top_p: float, seeds: Sequence[int]) -> Choose:
    """Return a choice by chance, by transformers' own temperature and nucleus; each row by its own seed.

    Args:
        temperature: above 0; 1 leaves the probabilities as they are.
        top_p: above 0, to 1: the likeliest tokens that make up this probability are kept.
        seeds: B numbers.

    Raises:
        ValueError: a number out of its range.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}; leave it out for 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a number above 0, to 1, got {top_p}")
    warm, cut = TemperatureLogitsWarper(float(temperature)), TopPLogitsWarper(float(top_p))
    generators = [generator_of(seed) for seed in seeds]

    def choose(logits: Tensor, rows: Tensor) -> Tensor:
        chances = cut(None, warm(None, logits.float())).softmax(-1).cpu()
        picked = [
            torch.multinomial(row, 1, generator=generators[index])
            for row, index in zip(chances, rows.tolist(), strict=True)
        ]
        return torch.cat(picked).to(logits.device)

    return choose
