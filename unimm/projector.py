"""Seeing: latents become vectors the LLM can read."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Map normalised latents [B N C] to LLM embeddings [B N D], token by token.

    Linear layers with exact GELU between them: depth 2 is Scale-RAE's (arXiv 2601.16208, section 3.1).
    """

    def __init__(self, channels: int, width: int, depth: int = 2) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"projector depth: expected 1 or more, got {depth}")
        layers: list[nn.Module] = [nn.Linear(channels, width)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(width, width)]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers[::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Return [B N D] for latents [B N C]."""
        return self.layers(latents)
