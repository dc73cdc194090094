"""How many pictures are drawn together: as many as their activations fit, and no more than pay."""

from __future__ import annotations

from typing import Any

import torch

from unimm import request
from unimm.model.memory import spare_bytes, that_fit


def picture_bytes(dit: Any, dtype: torch.dtype) -> int:
    """Return the activations of one picture at the fullest moment of a forward pass without gradients.

    That is in a block's MLP or around its attention: the residual, the modulations of every token
    (six widths), the normed input, and the hidden units or q, k, v and their turned copies; and in float32
    the state with its slopes. Attention's scores are not in it: fused kernels never hold them.

    Args:
        dit: config of a body.
        dtype: of the weights.
    """
    tokens = (dit.grid // dit.patch_size) ** 2
    width = max(dit.width, getattr(dit, "head_width", 0))
    hidden = max(dit.mlp_width or 0, getattr(dit, "head_mlp_width", None) or 0, 4 * width)
    numbers = tokens * (8 * width + max(8 * width, 3 * hidden) + 2 * dit.condition_width)
    state = 8 * dit.grid**2 * dit.channels
    return numbers * dtype.itemsize + 4 * state


def pass_size(dit: Any, dtype: torch.dtype, device: torch.device) -> int:
    """Return how many pictures go through the DiT together where the caller says nothing.

    At most `request.PASS`, of as few as fit the memory that is spare.
    """
    return min(request.PASS, that_fit(spare_bytes(device), picture_bytes(dit, dtype)))
