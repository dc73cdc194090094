"""The frozen eyes of the discriminator: a DINO vision transformer whose hidden states are looked at."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


class FrozenViT(nn.Module):
    """A pre-norm vision transformer with a class token, never trained and without its final norm."""

    def __init__(self, image_size: int, patch_size: int, width: int, depth: int, heads: int, mlp_width: int):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros((image_size // patch_size) ** 2 + 1, width))
        self.blocks = nn.ModuleList([ViTBlock(width, heads, mlp_width) for _ in range(depth)])
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.positions, std=0.02)
        self.requires_grad_(False)

    def forward(self, images: Tensor, depths: Collection[int]) -> dict[int, Tensor]:
        """Return {block, counted from 0: its patch tokens [B W N]} of normalised images [B 3 size size]."""
        h = self.patches(images).flatten(2).mT
        h = torch.cat([self.class_token.expand(len(h), 1, -1), h], dim=1) + self.positions
        seen = {}
        for depth, block in enumerate(self.blocks):
            h = block(h)
            if depth in depths:
                seen[depth] = h[:, 1:].mT.float()
        return seen


class ViTBlock(nn.Module):
    """Attention and a tanh-GELU MLP, each after a LayerNorm."""

    def __init__(self, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp_in = nn.Linear(width, mlp_width)
        self.mlp_out = nn.Linear(mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.attention_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh"))
