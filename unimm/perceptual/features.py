"""A distance over whatever feature maps one is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureDistance(nn.Module):
    """LPIPS without its learned channel weights (Zhang et al. 2018, equation 1 with w = 1).

    Args:
        extract: pixels [B 3 Hp Wp] in [0, 1] to feature maps, each [B channels height width]. The
            caller freezes its parameters; gradients must reach the pixels.
    """

    def __init__(self, extract: Callable[[Tensor], Sequence[Tensor]]):
        super().__init__()
        self.extract = extract

    def forward(self, pixels: Tensor, other: Tensor) -> Tensor:
        """Return the distance of each pair of pictures, float32 [B]; 0 where they are equal.

        At every place a feature vector is scaled to length 1; squared differences are summed over
        channels, averaged over places, and summed over maps.

        Raises:
            ValueError: the two batches differ in shape, or no map was extracted.
        """
        expect_pairs(pixels, other)
        return self.between(self.maps(pixels), self.maps(other))

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        """Return the feature maps that are compared, of pixels [B 3 Hp Wp] in [0, 1]."""
        return self.extract(pixels)

    def between(self, maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Return the distance of pictures whose `maps` these are, float32 [B].

        Raises:
            ValueError: there is no map.
        """
        pairs = list(zip(maps, others, strict=True))
        if not pairs:
            raise ValueError("extract: expected at least one feature map, got none")
        return sum(_between(a.float(), b.float()) for a, b in pairs)


def expect_pairs(pixels: Tensor, other: Tensor) -> None:
    """Refuse two batches of different shapes."""
    if pixels.shape != other.shape:
        raise ValueError(
            f"pixels: expected two equal shapes, got {tuple(pixels.shape)} and {tuple(other.shape)}"
        )


def _between(a: Tensor, b: Tensor) -> Tensor:
    a, b = (F.normalize(x, dim=1, eps=1e-10) for x in (a, b))
    return (a - b).square().sum(1).flatten(1).mean(1)
