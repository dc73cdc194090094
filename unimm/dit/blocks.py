"""The parts of a LightningDiT block (Yao & Wang 2025), token-wise adaptive norms (Peebles & Xie 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.attention import Attention


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned weight; computed in float32, returned in x's dtype."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class SwiGLU(nn.Module):
    """out(SiLU(gate) * value), with gate and value in one matrix (Shazeer 2020)."""

    def __init__(self, width: int, mlp_width: int):
        super().__init__()
        self.gate_value = nn.Linear(width, 2 * mlp_width)
        self.out = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift, all [B N W]."""
    return x * (1 + scale) + shift


class Block(nn.Module):
    """Attention and SwiGLU, each normed, modulated by the condition of its own token, and gated."""

    def __init__(self, width: int, heads: int, condition_width: int, mlp_width: int):
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = RMSNorm(width)
        self.mlp = SwiGLU(width, mlp_width)
        self.modulation = nn.Linear(condition_width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [B N W] from x [B N W] and the activated condition SiLU(c) [B N Z]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=-1)
        x = x + gate1 * self.attention(modulate(self.attention_norm(x), shift1, scale1), cos, sin)
        return x + gate2 * self.mlp(modulate(self.mlp_norm(x), shift2, scale2))


class FinalLayer(nn.Module):
    """Norm, modulation and projection to velocity."""

    def __init__(self, width: int, condition_width: int, channels: int):
        super().__init__()
        self.norm = RMSNorm(width)
        self.modulation = nn.Linear(condition_width, 2 * width)
        self.out = nn.Linear(width, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return [B N C] from x [B N W] and the activated condition [B N Z]."""
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.out(modulate(self.norm(x), shift, scale))
