"""Prompt Confidence (arXiv 2601.16208): how sure is the model of the prompt when it looks at the picture?"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def self_certainty(logits: Tensor) -> Tensor:
    """Return KL(uniform || p) = -mean over V of log(V p_v), in nats, float32 [...], of logits [... V].

    0 where all tokens are equally likely; larger is more certain (Kang et al. 2025, arXiv 2502.18581).
    """
    return -torch.log_softmax(logits.float(), dim=-1).mean(dim=-1) - math.log(logits.shape[-1])


def prompt_confidence(logits: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Return the mean self-certainty of each row's prompt positions, float32 [B].

    Args:
        logits: [K V] at all prompt positions of all rows. `standard` positions are those that predict a
            prompt token (one before it); the published code's `reference` positions are the prompt tokens
            themselves.
        rows: [K] the row each position belongs to.
        num_rows: B.

    Raises:
        ValueError: a row without a position.
    """
    counts = torch.zeros(num_rows, device=logits.device).index_add_(
        0, rows, torch.ones_like(rows, dtype=torch.float32)
    )
    if (counts == 0).any():
        raise ValueError("prompt: expected at least one token in every prompt, got an empty one")
    sums = torch.zeros(num_rows, device=logits.device).index_add_(0, rows, self_certainty(logits))
    return sums / counts
