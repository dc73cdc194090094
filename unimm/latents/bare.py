"""Latents whose autoencoder is read by no room: statistics alone, for a decoder that the caller has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor, nn

from unimm.latents.grid import own_grid
from unimm.latents.statistics import LatentStatistics


@dataclass(frozen=True)
class BareConfig:
    """Sizes of latents of which nothing but the statistics is known."""

    channels: int
    """C, numbers in one token."""
    grid: int
    """Tokens per side."""
    image_size: int
    """Pixels per side of the pictures that they stand for."""
    codec: str = "their autoencoder"
    """What draws them, for the message."""

    def __post_init__(self):
        for name in ("channels", "grid", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"bare.{name}: expected a positive number, got {getattr(self, name)}")


class Bare(nn.Module):
    """Normalised latents and their statistics; pixels are refused with what to do instead."""

    def __init__(self, config: BareConfig):
        super().__init__()
        self.config = config
        self.statistics = LatentStatistics(config.grid**2, config.channels)

    def raw_maps(self, latents: Tensor) -> Tensor:
        """Return raw latents [B C rows columns], float32, for such a decoder, of latents [B N C]."""
        grid = self.config.grid
        return self.statistics.restore(latents).mT.unflatten(2, (grid, grid))

    def latents_of(self, maps: Tensor) -> Tensor:
        """Return latents [B N C] of raw latents [B C rows columns]: the way back."""
        return self.statistics.normalise(maps.flatten(2).mT)

    def encode(self, pixels: Tensor) -> NoReturn:
        """Raise a ValueError: there is no encoder."""
        raise ValueError(
            f"pixels: {self.config.codec} is not read here; encode with it, and take space.latents_of(maps)"
        )

    def forward(self, latents: Tensor, size: tuple[int, int] | None = None) -> NoReturn:
        """Raise a ValueError: there is no decoder."""
        own_grid(size, self.config.grid)
        raise ValueError(
            f"latents: {self.config.codec} is not read here; draw with output_type='latent', and decode "
            "space.raw_maps(latents) with it"
        )

    decode = forward
