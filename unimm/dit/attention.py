"""Self-attention over latent tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.rope import rotate


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
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.out(attended.transpose(1, 2).flatten(2))
