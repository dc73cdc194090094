"""Embedding of time. Float32 whatever the compute dtype: bfloat16 cannot tell neighbouring steps apart."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import Tensor, nn


@cache
def fourier_frequencies() -> Tensor:
    """Return the 256 fixed frequencies, float32.

    The published models drew them from N(0, 1) once and kept them out of their checkpoints, so
    they are shipped here as data; random streams are no stable contract.
    """
    return torch.from_numpy(load_file(Path(__file__).with_name("fourier_W.safetensors"))["W"])


class TimeEmbedding(nn.Module):
    """Linear - SiLU - Linear over [sin, cos] of 2 pi t W."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Linear(2 * len(fourier_frequencies()), width)
        self.out = nn.Linear(width, width)

    def forward(self, t: Tensor, frequencies: Tensor) -> Tensor:
        """Return float32 [B Z] from t [B] in [0, 1] (not multiplied by 1000)."""
        with torch.autocast(t.device.type, enabled=False):
            angle = 2 * math.pi * t.float()[:, None] * frequencies
            features = torch.cat([angle.sin(), angle.cos()], dim=-1)
            hidden = F.silu(F.linear(features, self.hidden.weight.float(), self.hidden.bias.float()))
            return F.linear(hidden, self.out.weight.float(), self.out.bias.float())
