"""Intending: the LLM's states at the query tokens become the conditions of the diffusion transformer."""

from __future__ import annotations

from torch import Tensor, nn


class Connector(nn.Module):
    """Map query states [B Q D] to conditions [B Q Z], token by token.

    Depth 1 is one Linear, as in the published Scale-RAE weights; depth 2 puts Linear(D, D) and exact GELU
    before it.
    """

    def __init__(self, width: int, condition_width: int, depth: int = 2) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"connector depth: expected 1 or more, got {depth}")
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.GELU()]
        layers.append(nn.Linear(width, condition_width))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers[::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query_states: Tensor) -> Tensor:
        """Return [B Q Z] for query states [B Q D]."""
        return self.layers(query_states)
