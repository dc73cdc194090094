"""How many pictures are drawn together: as many as their activations fit, and no more than pay."""

from __future__ import annotations

from typing import Any

import torch

from unimm import request
from unimm.dit.blocks import MODULATIONS, swiglu_width
from unimm.model.memory import spare_bytes, that_fit


def picture_bytes(dit: Any, dtype: torch.dtype) -> int:
    """Return the activations of one picture at the fullest moment of a forward pass without gradients.

    That is in the MLP or the attention of a block (of a DDT's head, if that is larger): the residual before
    and after, the norm of it, the modulations of every token, and the hidden units or q, k and v with their
    turned copies. Beside them stand the conditions, with the time and without, the embedded latents of a
    head and their patches, and in float32 the noise, the state and a slope. Attention's scores are not in
    it: fused kernels never hold them.

    Args:
        dit: config of a body of modulated blocks.
        dtype: of the weights.
    """
    modulations = MODULATIONS[dit.shift][0]

    def block(width: int, mlp_width: int | None) -> int:
        hidden = HIDDEN[dit.mlp](width, mlp_width)
        return (3 + modulations) * width + max(hidden, 7 * width)

    fullest = block(dit.width, dit.mlp_width)
    if head := getattr(dit, "head_width", 0):
        fullest = max(fullest, block(head, dit.head_mlp_width) + head + dit.width)
    numbers = dit.side**2 * (fullest + 2 * dit.condition_width + dit.patch_channels)
    return numbers * dtype.itemsize + 3 * 4 * dit.grid**2 * dit.channels


def _swiglu(width: int, mlp_width: int | None) -> int:
    return 4 * (mlp_width or swiglu_width(width))


def _gelu(width: int, mlp_width: int | None) -> int:
    return 2 * (mlp_width or 4 * width)


HIDDEN = {"swiglu": _swiglu, "gelu": _gelu}
"""Numbers per token inside an MLP when it is fullest: gate and value, the activated gate, and the product;
or before and after the activation."""


def pass_size(dit: Any, dtype: torch.dtype, device: torch.device) -> int:
    """Return how many pictures go through the DiT together where the caller says nothing.

    At most `request.PASS`, of as few as fit the memory that is spare.
    """
    return min(request.PASS, that_fit(spare_bytes(device), picture_bytes(dit, dtype)))
