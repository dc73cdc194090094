"""The alignment loss of REPA (Yu et al. 2025, equation 8) and targets on another grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.shapes import side_of
from unimm.tables import expect_known

PUBLISHED_WEIGHT = 0.5
"""Lambda, the factor of the alignment loss beside the flow loss. 1.0 did as well (FID 7.8, not 7.9)."""

RESAMPLINGS = {
    "bilinear": {"mode": "bilinear", "antialias": True, "align_corners": False},
    "bicubic": {"mode": "bicubic", "antialias": True, "align_corners": False},
    "area": {"mode": "area"},
}


def alignment_loss(projected: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Return minus the cosine similarity of each sample, mean over tokens and targets, float32 [B].

    Args:
        projected: for each target [B M K], what the projectors made of the hidden states.
        targets: for each target [B M K], the encoder's features of the same places; constants of the loss.

    Raises:
        ValueError: another number of targets, or shapes that differ: tokens must stand for the same
            places, see `resample_tokens`.
    """
    if len(projected) != len(targets) or not targets:
        raise ValueError(
            f"targets: expected one or more, as many as projectors, {len(projected)}, got {len(targets)}"
        )
    for i, (ours, theirs) in enumerate(zip(projected, targets, strict=True)):
        if ours.shape != theirs.shape:
            raise ValueError(
                f"targets[{i}]: expected the shape of the projected states {tuple(ours.shape)}, got "
                f"{tuple(theirs.shape)}; targets on another grid can be brought to it by resample_tokens"
            )
    losses = [
        -F.cosine_similarity(ours.float(), theirs.detach().float(), dim=-1).mean(1)
        for ours, theirs in zip(projected, targets, strict=True)
    ]
    return torch.stack(losses).mean(0)


def resample_tokens(tokens: Tensor, num_tokens: int, how: str = "bilinear") -> Tensor:
    """Return tokens [B num_tokens K] on another square grid than that of tokens [B M K], float32.

    Published recipes do not resample features: they resize the encoder's input until the grids agree,
    which is to be preferred.

    Args:
        tokens: in reading order.
        num_tokens: a square number.
        how: a row of RESAMPLINGS; the first two average when the grid shrinks (antialias).

    Raises:
        ValueError: a number of tokens that is no square, or no such way.
    """
    expect_known("how", how, RESAMPLINGS)
    side, grid = side_of(tokens.shape[1], "tokens"), side_of(num_tokens, "num_tokens")
    maps = tokens.float().mT.unflatten(2, (side, side))
    return F.interpolate(maps, size=(grid, grid), **RESAMPLINGS[how]).flatten(2).mT
