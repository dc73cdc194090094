"""Useful tokens per second, packed and padded, on lengths like those of visual instruction data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimm.data.packing import PLACINGS, laid_out
from unimm.llm.attention import train_short_rows
from unimm.llm.decoding import llm_states
from unimm.llm.qwen import LLMConfig, build_llm
from unimm.parts import Batch
from unimm.text.chat import Rendered

PICTURE = 256
"""Positions of a picture: SigLIP-2 at 224 pixels."""


def llava_like_lengths(count: int, limit: int, seed: int = 0) -> np.ndarray:
    """Return lengths int64 [count] of conversations, cut at `limit`.

    Made up after LLaVA-1.5's mixture (Liu et al. 2024, arXiv 2310.03744): of 665 thousand samples 40 thousand
    are long talks without a picture (ShareGPT), 1 of 16; the others have a picture and some short questions
    or one long answer. Words: log-normal with sigma 0.8, median 700 and 130.
    """
    rng = np.random.default_rng(seed)
    talks = rng.random(count) < 1 / 16
    words = np.where(talks, 700 * np.exp(0.8 * rng.standard_normal(count)), 0)
    asked = 130 * np.exp(0.8 * rng.standard_normal(count)) + PICTURE
    return np.clip(np.where(talks, words, asked), 16, limit).astype(np.int64)


@dataclass(frozen=True)
class Rate:
    """What a way of laying samples out gives."""

    tokens_per_second: float
    """Of samples; padding is none."""
    padding: float
    """Share of positions that hold none."""
    rows: int


def measure_packing(
    config: LLMConfig, samples: int, row_length: int, window: int, rounds: int, clock: Callable[[], float]
) -> dict[bool, Rate]:
    """Return the rates of padded (False) and packed (True) rows of the same samples, forward and backward.

    Args:
        config: of the LLM; its head is left out.
        samples: how many.
        row_length: longest row.
        window: samples of a batch; they are packed together, or padded to the longest of them.
        rounds: runs of all samples; the two ways take turns, the quickest of each counts.
        clock: seconds.
    """
    torch.manual_seed(0)
    llm = build_llm(config).train()
    train_short_rows(llm)
    lengths = llava_like_lengths(samples, row_length)
    windows = [lengths[at : at + window].tolist() for at in range(0, samples, window)]
    batches = {is_packed: [_batch(each, row_length, is_packed) for each in windows] for is_packed in PLACINGS}
    least = dict.fromkeys(batches, float("inf"))
    for _ in range(rounds):
        for is_packed, of_kind in batches.items():
            start = clock()
            for batch in of_kind:
                _train(llm, batch)
            least[is_packed] = min(least[is_packed], clock() - start)
    return {
        is_packed: Rate(
            int(lengths.sum()) / least[is_packed],
            1 - int(lengths.sum()) / sum(batch.input_ids.numel() for batch in of_kind),
            sum(len(batch.input_ids) for batch in of_kind),
        )
        for is_packed, of_kind in batches.items()
    }


def _batch(lengths: list[int], row_length: int, is_packed: bool) -> Batch:
    samples = [Rendered([1] * length, [1] * length) for length in lengths]
    return laid_out(samples, PLACINGS[is_packed](lengths, row_length), pad=0)


def _train(llm: torch.nn.Module, batch: Batch) -> None:
    embeds: Tensor = llm.get_input_embeddings()(batch.input_ids)
    states = llm_states(llm, embeds, batch.samples)
    states[batch.attention_mask].float().square().mean().backward()
    llm.zero_grad(set_to_none=True)
