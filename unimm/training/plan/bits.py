"""Linear layers of 4 or 8 bits on shapes: what bitsandbytes keeps of them, without bitsandbytes.

Assumed of it, as of version 0.45: 4 bits are packed by two, with one scale for every 64 weights, float32, or
where scales are quantised again one byte and for every 256 of them a float32 (Dettmers et al. 2023, arXiv
2305.14314, section 3); 8 bits have one float32 scale for each row. A layer is restored whole, in float32,
whenever its product is computed, forward and backward, and let go again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unimm.model.quantising import BITS

BLOCK = 64
"""Weights of 4 bits that share a scale."""
SCALES = 256
"""Scales that share a scale where they are quantised again."""


class FewBitsLinear(nn.Linear):
    """A linear layer whose frozen weight has fewer bits; its bias stays as it was."""

    def __init__(self, whole: nn.Linear, bits: int):
        """Take the place of a layer of floating-point weights."""
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = whole.in_features, whole.out_features, whole.bias
        packed = torch.empty(self.num_weights * bits // 8, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("constants", torch.empty(constant_bytes(whole, bits), dtype=torch.uint8))

    @property
    def num_weights(self) -> int:
        """How many weights there are, whatever their bits."""
        return self.in_features * self.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Return [... out] of x [... in], in its dtype; the product is in bfloat16."""
        product = _Product.apply(x.to(torch.bfloat16), self.out_features)
        return (product if self.bias is None else product + self.bias.to(product.dtype)).to(x.dtype)


class _Product(torch.autograd.Function):
    """x [... in] with a restored weight, which is not saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, outer: int) -> Tensor:
        ctx.inner = x.shape[-1]
        return x @ _restored(outer, ctx.inner, x.dtype).t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ _restored(gradient.shape[-1], ctx.inner, gradient.dtype), None


def _restored(outer: int, inner: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(outer, inner).to(dtype)


def constant_bytes(layer: nn.Linear, bits: int) -> int:
    """Return what the scales of a layer take."""
    if bits == 8:
        return 4 * layer.out_features
    blocks = -(-layer.in_features * layer.out_features // BLOCK)
    return blocks + 4 * -(-blocks // SCALES) if BITS[bits]["bnb_4bit_use_double_quant"] else 4 * blocks


def give_few_bits(room: nn.Module, bits: int) -> None:
    """Replace all linear layers of a room, which has no adapter yet."""
    for parent in list(room.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, FewBitsLinear(layer, bits))


def num_weights(modules: Iterable[nn.Module]) -> int:
    """Return how many parameters modules have together, shared ones once, whatever their bits."""
    modules = list(modules)
    every = {id(p): p.numel() for root in modules for p in root.parameters()}
    packed = {
        id(layer.weight): layer.num_weights
        for root in modules
        for layer in root.modules()
        if isinstance(layer, FewBitsLinear)
    }
    return sum((every | packed).values())
