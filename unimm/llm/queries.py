"""The learnable query tokens: blank slots the LLM fills with what it intends to draw."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QueryTokens(nn.Module):
    """Q learnable vectors of the LLM's width D, one per latent token; drawn from N(0, 1/D)."""

    def __init__(self, num_queries: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_queries, width) * width**-0.5)

    def forward(self, count: int) -> Tensor:
        """Return the queries for `count` images, [count Q D].

        A copy, not a view: a sharded parameter is taken away again when this call returns.
        """
        return self.weight.repeat(count, 1, 1)
