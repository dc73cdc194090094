"""LPIPS put together from what its authors publish: their channel weights and torchvision's backbones."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from unimm.files import expect_sha256, read_tensors
from unimm.perceptual.lpips import Lpips, network_of
from unimm.tables import pick


@dataclass(frozen=True)
class Published:
    """A file that torchvision publishes."""

    file: str
    sha256: str
    """The first digits, as they stand in the file's name."""
    channels: str
    """The first digits of that of the package's weights of the channels, version 0.1."""


BACKBONES: Mapping[str, Published] = {
    "vgg": Published("vgg16-397923af.pth", "397923af", "a78928a0"),
    "alex": Published("alexnet-owt-7be5be79.pth", "7be5be79", "df73285e"),
}


def load_published_lpips(backbone: str | Path, net: str = "vgg") -> nn.Module:
    """Return the frozen LPIPS distance, version 0.1: `f(pixels, other) -> [B]`, pixels [B 3 Hp Wp] in [0, 1].

    The weights of the channels come with the package `lpips`; nothing is fetched.

    Args:
        backbone: torchvision's file, see `BACKBONES`.
        net: "vgg" or "alex", the backbone it is of.

    Raises:
        ValueError: an unknown net, or another file than the published one.
        FileNotFoundError: no such file.
        ImportError: the package `lpips` is not installed.
    """
    published = pick("lpips net", net, BACKBONES)
    try:
        expect_sha256(backbone, published.sha256)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"lpips of {net!r} needs torchvision's {published.file}: {error}") from None
    network, stored = network_of(net), read_tensors(backbone)
    expect_sha256(Path(inspect.getfile(type(network))).parent / f"weights/v0.1/{net}.pth", published.channels)
    state = network.state_dict()
    theirs = {name: _name_in_torchvision(name) for name in state if name.startswith("net.")}
    network.load_state_dict(state | {name: stored[other] for name, other in theirs.items()})
    return Lpips(network)


def _name_in_torchvision(name: str) -> str:
    """Return torchvision's name of a tensor of the backbone: "features.5.bias" of "net.slice2.5.bias"."""
    return re.sub(r"net\.slice\d+", "features", name)
