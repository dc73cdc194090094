"""Self-attention over latent tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.rope import rotate

SHORT = 128
"""Tokens up to which a CPU trains faster without the fused kernel: 4x at 25 tokens in bfloat16."""


class Attention(nn.Module):
    """Full attention with fused q, k, v, biases everywhere, rotary positions, no norm of q and k."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return [B N W] from x [B N W]; cos and sin are the rotary tables [N head_dim/2]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.out(attended.transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(head_dim)) v, all [B heads N head_dim]."""
    if q.device.type == "cpu" and q.requires_grad and k.shape[-2] <= SHORT:
        return attend_plainly(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same as two matrix products and a float32 softmax."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.float().softmax(-1).to(v.dtype) @ v
