"""Latent spaces: what a generator writes in, and how it becomes pixels. One table of kinds, one interface:

    encode(pixels [B 3 Hp Wp] in [0, 1]) -> latents [B N C], normalised, N in reading order
    forward(latents, size=None)          -> pixels [B 3 Hp Wp], nominally in [0, 1], not clamped
    decode(latents, size=None)           -> pixels clamped to [0, 1]; refuses latents that are not finite
    config.channels, config.grid, config.image_size

`size` is (rows, columns) of tokens. VAEs and pixels take any; a representation autoencoder has one square.
Bare latents have no pixels: their autoencoder is not read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unimm.latents.bare import Bare, BareConfig
from unimm.latents.decoder import DecoderConfig, RAEDecoder
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.grid import finite, grid_of, own_grid
from unimm.latents.noise import with_noise
from unimm.latents.statistics import LatentStatistics
from unimm.latents.vae import VAE, FluxVAEConfig, SD3VAEConfig, SDVAEConfig, VAEConfig
from unimm.shapes import expect
from unimm.tables import pick


@dataclass(frozen=True)
class RAEConfig:
    """A representation autoencoder (Zheng et al. 2025, arXiv 2510.11690)."""

    encoder: EncoderConfig
    """Its `resize` says what befalls pixels of another size; "bicubic" as published."""
    decoder: DecoderConfig

    def __post_init__(self):
        found = {"channels": self.decoder.channels, "grid": self.decoder.grid}
        wanted = {"channels": self.encoder.width, "grid": self.encoder.grid}
        if found != wanted:
            raise ValueError(f"rae.decoder: expected {wanted} as the encoder gives, got {found}")

    @property
    def channels(self) -> int:
        """C, numbers in one token."""
        return self.decoder.channels

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.decoder.grid

    @property
    def image_size(self) -> int:
        """Pixels per side of the pictures drawn; the encoder's may differ."""
        return self.decoder.image_size


class RAE(nn.Module):
    """A frozen vision encoder, the statistics of its latents, and a decoder trained to show them."""

    def __init__(self, config: RAEConfig):
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder)
        self.statistics = LatentStatistics(config.grid**2, config.channels)
        self.decoder = RAEDecoder(config.decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B N C] of pixels [B 3 Hp Wp] in [0, 1].

        Raises:
            ValueError: pixels of another size than the encoder's, where its config refuses them.
        """
        return self.statistics.normalise(self.encoder.encode(pixels))

    def encode_noised(
        self, pixels: Tensor, tau: float, generator: torch.Generator, kind: str = "uniform"
    ) -> Tensor:
        """Return latents as the published code trains decoders on: noised, and only then normalised.

        Args:
            pixels: [B 3 Hp Wp] in [0, 1].
            tau: 0.8 as published, in units of raw latents.
            generator: of sigma and of the noise.
            kind: the law of sigma; see `unimm.latents.noise`.
        """
        return self.statistics.normalise(with_noise(self.encoder.encode(pixels), tau, generator, kind))

    def forward(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp], nominally in [0, 1] but not clamped, of latents [B N C]."""
        own_grid(size, self.config.grid)
        return self.decoder(self.statistics.restore(latents))

    def decode(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp] clamped to [0, 1] of latents [B N C]."""
        return self(finite(latents), size).clamp(0, 1)


@dataclass(frozen=True)
class PatchesConfig:
    """Pixels themselves: p x p of them are one token (the control experiment; 16 in Zheng et al. 2025)."""

    patch_size: int = 16
    """p, pixels per side of one token."""
    image_size: int = 256
    """Pixels per side where nobody says otherwise."""

    def __post_init__(self):
        if self.patch_size < 1 or self.image_size < 1 or self.image_size % self.patch_size:
            raise ValueError(
                f"pixels.image_size: expected a multiple of patch_size = {self.patch_size}, "
                f"got {self.image_size}"
            )

    @property
    def channels(self) -> int:
        """C, numbers in one token."""
        return 3 * self.patch_size**2

    @property
    def grid(self) -> int:
        """Tokens per side of a picture of image_size."""
        return self.image_size // self.patch_size


class Patches(nn.Module):
    """The identity as a latent space: pixels in [-1, 1], gathered by patch in the order (y, x, channel)."""

    def __init__(self, config: PatchesConfig):
        super().__init__()
        self.config = config

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B N 3 p p] of pixels [B 3 Hp Wp] in [0, 1].

        Raises:
            ValueError: Hp or Wp is not a multiple of p.
        """
        p = self.config.patch_size
        sizes = expect("pixels", pixels, "B 3 Hp Wp")
        if sizes["Hp"] % p or sizes["Wp"] % p:
            raise ValueError(
                f"pixels: expected sides that are multiples of {p}, got {sizes['Hp']} x {sizes['Wp']}"
            )
        tiles = pixels.float().unflatten(3, (-1, p)).unflatten(2, (-1, p))  # [B 3 rows p columns p]
        return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2) * 2 - 1

    def forward(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp], nominally in [0, 1] but not clamped, of latents [B N 3 p p]."""
        p = self.config.patch_size
        rows, columns = grid_of(latents, size, self.config.channels)
        tiles = latents.float().reshape(-1, rows, columns, p, p, 3)
        return tiles.permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, rows * p, columns * p) / 2 + 0.5

    def decode(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp] clamped to [0, 1] of latents [B N 3 p p]."""
        return self(finite(latents), size).clamp(0, 1)


LATENT_SPACES = {
    "rae": (RAEConfig, RAE),
    "sd_vae": (SDVAEConfig, VAE),
    "sd3_vae": (SD3VAEConfig, VAE),
    "flux_vae": (FluxVAEConfig, VAE),
    "vae": (VAEConfig, VAE),
    "pixels": (PatchesConfig, Patches),
    "bare": (BareConfig, Bare),
}
"""(config class, class) by kind."""


def latent_space(kind: str) -> tuple[type, type]:
    """Return the row of LATENT_SPACES.

    Raises:
        ValueError: an unknown kind; the message suggests the nearest one.
    """
    return pick("latent space", kind, LATENT_SPACES)


def build_latent_space(kind: str, config: Any) -> nn.Module:
    """Build the latent space of a kind from its config.

    Raises:
        ValueError: an unknown kind, or the config of another.
        ImportError: a VAE without diffusers.
    """
    config_class, space = latent_space(kind)
    if not isinstance(config, config_class):
        raise ValueError(f"{kind}: expected a {config_class.__name__}, got {type(config).__name__}")
    return space(config)
