"""Projectors: small networks that carry hidden states of a DiT to the features of other encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from unimm.shapes import expect


class Projectors(nn.Module):
    """One projector for each target, all fed with the same hidden states (REPA, Yu et al. 2025)."""

    def __init__(self, width: int, target_widths: Sequence[int], hidden: int = 2048):
        """Build them.

        Args:
            width: W of the hidden states; published after block 8 of 28.
            target_widths: channels of each target encoder's tokens, e.g. (768,) for DINOv2-B.
            hidden: width of the two hidden layers; 2048 as published.

        Raises:
            ValueError: no target, or a width below 1.
        """
        super().__init__()
        if not target_widths:
            raise ValueError("target_widths: expected at least one target, got none")
        for name, number in (
            ("width", width),
            ("hidden", hidden),
            *(("target_widths", w) for w in target_widths),
        ):
            if number < 1:
                raise ValueError(f"{name}: expected a positive number, got {number}")
        self.width = width
        self.heads = nn.ModuleList([Projector(width, hidden, target) for target in target_widths])
        self.reset_parameters()

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Return [B M width of the target] for every target from hidden states [B M W].

        Raises:
            ValueError: hidden states of another width.
        """
        expect("hidden", hidden, "B M W", W=self.width)
        return [head(hidden) for head in self.heads]

    def reset_parameters(self) -> None:
        """Set linear weights to Xavier uniform and biases to 0, as the published recipe does."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


class Projector(nn.Module):
    """Linear - SiLU - Linear - SiLU - Linear, for each token alone."""

    def __init__(self, width: int, hidden: int, target_width: int):
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, target_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.second(F.silu(self.first(x)))))
