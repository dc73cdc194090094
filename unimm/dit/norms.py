"""Norms of token vectors. Computed in float32 whatever the dtype, returned in x's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned weight; computed in float32, returned in x's dtype."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class BareLayerNorm(nn.Module):
    """LayerNorm without weight and bias: the modulation that follows has them (Peebles & Xie 2023)."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), (self.width,), eps=self.eps).to(x.dtype)


NORMS = {"rms": RMSNorm, "layer": BareLayerNorm}
