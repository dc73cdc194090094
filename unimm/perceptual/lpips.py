"""The published LPIPS, from weights that the user names; nothing is ever fetched."""

from __future__ import annotations

import warnings
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn


def load_lpips(weights: str | Path | None, net: str = "vgg") -> nn.Module:
    """Return the frozen LPIPS distance: `f(pixels, other) -> [B]`, pixels [B 3 Hp Wp] in [0, 1].

    Args:
        weights: safetensors of a whole `lpips.LPIPS(net=net)` state dict, backbone included.
        net: "vgg", "alex" or "squeeze", the backbone those weights are of.

    Raises:
        ValueError: no weights named, or they do not fit.
        FileNotFoundError: no such file.
        ImportError: the package `lpips` is not installed.
    """
    if weights is None:
        raise ValueError(
            "perceptual.weights: LPIPS means nothing without its weights, and they are not fetched; "
            "name a safetensors file of a whole lpips.LPIPS state dict, or use FeatureDistance"
        )
    if not Path(weights).is_file():
        raise FileNotFoundError(f"perceptual.weights: no file at {weights}")
    network = network_of(net)
    try:
        network.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise ValueError(f"perceptual.weights: {weights} is not LPIPS of {net!r}: {error}") from error
    return Lpips(network)


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
        return self.network(pixels, other, normalize=True).flatten()  # normalize: from [0, 1] to [-1, 1]
