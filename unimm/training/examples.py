"""Inputs of the right shapes for any DiT body, for counting and for timing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unimm.dit.config import DiTConfig
from unimm.dit.mmdit import MMDiTConfig, TextConditions

TEXT_TOKENS = 154
"""L of SD3: 77 tokens of CLIP and 77 of T5."""


@dataclass(frozen=True)
class Example:
    """Arguments of a body's forward."""

    x: Tensor
    """[B N C]"""
    t: Tensor
    """[B] in (0, 1)"""
    conditions: Any
    """Labels [B], vectors [B M Z] or TextConditions, as the body's config asks."""

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Any]:
        """x, t and conditions, in the order of a body's forward."""
        return self.x, self.t, self.conditions

    def cast(self, dtype: torch.dtype) -> Example:
        """Return the same with condition vectors in the dtype of a cast body, which casts all else itself."""
        is_vectors = isinstance(self.conditions, Tensor) and self.conditions.is_floating_point()
        return replace(self, conditions=self.conditions.to(dtype)) if is_vectors else self


def example(
    config: DiTConfig | MMDiTConfig, batch: int, device: torch.device | str, text_tokens: int = TEXT_TOKENS
) -> Example:
    """Return an example for a body of this config: on its own square grid, noise of torch's global state."""
    x = torch.randn(batch, config.grid**2, config.channels, device=device)
    t = torch.linspace(0, 1, batch + 2, device=device)[1:-1]
    return Example(x, t, _conditions(config, batch, device, text_tokens))


def _conditions(
    config: DiTConfig | MMDiTConfig, batch: int, device: torch.device | str, text_tokens: int
) -> Any:
    if isinstance(config, MMDiTConfig):
        sequence = torch.randn(batch, text_tokens, config.sequence_width, device=device)
        return TextConditions(sequence, torch.randn(batch, config.pooled_width, device=device))
    if config.num_classes is not None:
        return torch.arange(batch, device=device) % config.num_classes
    return torch.randn(batch, config.side**2, config.condition_width, device=device)
