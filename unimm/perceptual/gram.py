"""Which features go together, wherever in a picture: the distance between Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gram_distance(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the distance of each pair of pictures, float32 [B]: the mean squared one of Gram matrices.

    Gatys et al. 2016 (equations 3 to 5, all maps weighing the same). A Gram matrix here is F F^T / (c h w) of
    features F [c, h w], as Johnson et al. 2016 divide it. Scale-RAE (arXiv 2601.16208) gives this term the
    weight 100 and does not write it out.

    Args:
        maps: feature maps of the one picture, [B c h w] each.
        others: of the other.
    """
    pairs = list(zip(maps, others, strict=True))
    return torch.stack([(_gram(a) - _gram(b)).square().mean((1, 2)) for a, b in pairs]).sum(0)


def _gram(features: Tensor) -> Tensor:
    """Return [B c c] of [B c h w], in float32."""
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)
        return flat @ flat.mT / flat[0].numel()
