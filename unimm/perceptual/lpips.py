"""LPIPS as the package `lpips` computes it, for pixels in [0, 1]; `published` says whose weights it has."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unimm.perceptual.features import expect_pairs

_EPS = 1e-10
"""The package's own, added to the length of a vector."""


def network_of(net: str) -> nn.Module:
    """Return the network of the package `lpips`: its own weights of the channels, a random backbone.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        import lpips
    except ImportError as error:
        raise ImportError("lpips is not installed; pip install 'unimm[train]'") from error
    with warnings.catch_warnings():
        # It asks torchvision for a random backbone in words that torchvision has retired.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)


class Lpips(nn.Module):
    """A network of the package `lpips`, frozen, for pixels in [0, 1]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def forward(self, pixels: Tensor, other: Tensor) -> Tensor:
        """Return the distance of each pair, [B]."""
        expect_pairs(pixels, other)
        return self.between(self.maps(pixels), self.maps(other))

    def maps(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return what the backbone sees at each of its depths, of pixels [B 3 Hp Wp] in [0, 1]."""
        return tuple(self.network.net(self.network.scaling_layer(pixels * 2 - 1)))

    def between(self, maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Return the distance of pictures whose `maps` these are, [B]: what the package computes of them."""
        pairs = zip(self.network.lins, maps, others, strict=True)
        return sum(_weighed(lin, a, b) for lin, a, b in pairs)


def _weighed(lin: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """Return the distance [B] at one depth: squared differences of unit vectors, weighed by channel."""
    # The norm's gradient is 0 at 0, where a square root's is not a number.
    a, b = (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + _EPS) for x in (a, b))
    return lin((a - b).square()).mean((1, 2, 3))
