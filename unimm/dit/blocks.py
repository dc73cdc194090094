"""The parts of a LightningDiT block (Yao & Wang 2025), token-wise adaptive norms (Peebles & Xie 2023)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.attention import Attention
from unimm.dit.norms import NORMS


def swiglu_width(width: int) -> int:
    """Return the published hidden width of a SwiGLU, often odd: 2048 -> 5461."""
    return int(2 / 3 * 4 * width)


class SwiGLU(nn.Module):
    """out(SiLU(gate) * value), with gate and value in one matrix (Shazeer 2020)."""

    def __init__(self, width: int, mlp_width: int | None = None):
        """Build it, as wide inside as published unless said."""
        super().__init__()
        mlp_width = mlp_width or swiglu_width(width)
        self.gate_value = nn.Linear(width, 2 * mlp_width)
        self.out = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


class GeluMLP(nn.Module):
    """out(GELU(hidden)), GELU by its tanh form, as in DiT and SiT."""

    def __init__(self, width: int, mlp_width: int | None = None):
        """Build it; the published hidden width is 4 W."""
        super().__init__()
        mlp_width = mlp_width or 4 * width
        self.hidden = nn.Linear(width, mlp_width)
        self.out = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(x), approximate="tanh"))


MLPS = {"swiglu": SwiGLU, "gelu": GeluMLP}


def with_shifts(modulation: Tensor) -> tuple[Tensor, ...]:
    """Return shift, scale, gate of the attention, then of the MLP, from [B N 6W]."""
    return modulation.chunk(6, dim=-1)


def without_shifts(modulation: Tensor) -> tuple[Tensor, ...]:
    """Return the same six from [B N 4W], which holds scales and gates; the shifts are zero."""
    scale1, gate1, scale2, gate2 = modulation.chunk(4, dim=-1)
    none = modulation.new_zeros(())
    return none, scale1, gate1, none, scale2, gate2


MODULATIONS = {True: (6, with_shifts), False: (4, without_shifts)}
"""Whether the norms are shifted: (numbers per unit of width, how they are split)."""


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift, all [B N W]; shift and scale may be [B 1 W]."""
    return x * (1 + scale) + shift


class Block(nn.Module):
    """Attention and MLP, each normed, modulated by the condition of its own token, and gated."""

    def __init__(
        self,
        width: int,
        heads: int,
        condition_width: int,
        mlp_width: int | None = None,
        *,
        norm: str = "rms",
        mlp: str = "swiglu",
        shift: bool = True,
        qk_norm: bool = False,
        rope: bool = True,
        attention: str = "auto",
    ):
        """Build a block; norm is a row of NORMS, mlp of MLPS, attention of ATTENTIONS."""
        super().__init__()
        self.attention_norm = NORMS[norm](width)
        self.attention = Attention(width, heads, qk_norm, rope, attention)
        self.mlp_norm = NORMS[norm](width)
        self.mlp = MLPS[mlp](width, mlp_width)
        parts, self.split = MODULATIONS[shift]
        self.modulation = nn.Linear(condition_width, parts * width)

    def forward(self, x: Tensor, condition: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [B N W] from x [B N W] and the activated condition SiLU(c) [B N Z] or [B 1 Z]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.split(self.modulation(condition))
        x = x + gate1 * self.attention(modulate(self.attention_norm(x), shift1, scale1), cos, sin)
        return x + gate2 * self.mlp(modulate(self.mlp_norm(x), shift2, scale2))


class FinalLayer(nn.Module):
    """Norm, modulation and projection to velocity."""

    def __init__(self, width: int, condition_width: int, outputs: int, norm: str = "rms"):
        super().__init__()
        self.norm = NORMS[norm](width)
        self.modulation = nn.Linear(condition_width, 2 * width)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return [B N outputs] from x [B N W] and the activated condition [B N Z] or [B 1 Z]."""
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.out(modulate(self.norm(x), shift, scale))
