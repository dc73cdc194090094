"""Values at positions of a sequence, from the logits there, and their mean over each row.

Prompt confidence and image confidence (arXiv 2601.16208) are means of self-certainty, over the prompt read as
the picture's caption and over the picture read after the prompt; prompt likelihood is the mean log
probability of the prompt's tokens, minus the loss that the published code logs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def self_certainty(logits: Tensor) -> Tensor:
    """Return KL(uniform || p) = -mean over V of log(V p_v), in nats, float32 [...], of logits [... V].

    0 where all tokens are equally likely; larger is more certain (Kang et al. 2025, arXiv 2502.18581).
    """
    logits = logits.float()
    return logits.logsumexp(-1) - logits.mean(-1) - math.log(logits.shape[-1])


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log probability, nats, float32 [K], of tokens [K] under logits [K V]."""
    logits = logits.float()
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)


def row_means(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Return the mean of each row's values, float64 [B].

    Args:
        values: [K] at all positions of all rows.
        rows: [K] the row each position belongs to.
        num_rows: B.

    Raises:
        ValueError: a row without a position.
    """
    values = values.double()
    sums = torch.zeros(num_rows, dtype=values.dtype, device=values.device).index_add_(0, rows, values)
    counts = torch.bincount(rows, minlength=num_rows)
    if (counts == 0).any():
        raise ValueError("prompt: expected at least one position in every row, got a row without any")
    return sums / counts
