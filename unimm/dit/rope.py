"""Rotary positions in two dimensions (Su et al. 2021; 2-D form of EVA-02, adjacent pairs)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def rope_angles(grid: int, head_dim: int, theta: float = 10000.0) -> Tensor:
    """Return rotation angles, float32 [grid*grid head_dim/2], tokens in reading order.

    The first half of the pairs turns with the row, the second half with the column, each over
    head_dim/4 frequencies.

    Raises:
        ValueError: head_dim is not a multiple of 4.
    """
    if head_dim % 4:
        raise ValueError(f"head width: 2-D rotary positions need a multiple of 4, got {head_dim}")
    frequencies = theta ** (-np.arange(0, head_dim // 2, 2, dtype=np.float64) / (head_dim // 2))
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = np.concatenate([row[:, None] * frequencies, column[:, None] * frequencies], axis=1)
    return torch.from_numpy(angles.astype(np.float32))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each adjacent pair of x [B heads N head_dim] by its angle; cos and sin are [N head_dim/2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def leave(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x as it is, for networks without rotary positions."""
    return x
