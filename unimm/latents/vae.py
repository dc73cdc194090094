"""The VAEs of Stable Diffusion and FLUX as latent spaces; their modules come from diffusers (extra `vae`).

Latents are (z - shift) * scale, z the mean or a sample of the posterior, laid out as tokens in reading order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.latents.grid import finite, grid_of
from unimm.shapes import expect


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of a VAE whose every level but the last halves the picture.

    The published kinds stand below; as kind "vae" it is any other, such as one that the stage vae trained.
    """

    latent_channels: int
    """Channels of the posterior: 4 or 16 in the published ones."""
    scaling_factor: float
    """Latents = (z - shift_factor) * scaling_factor."""
    shift_factor: float = 0.0
    """See scaling_factor."""
    packing: int = 1
    """Latent pixels per side in one token: 1, or 2 as FLUX packs them."""
    quant_conv: bool = False
    """Whether 1x1 convolutions stand around the posterior, as in Stable Diffusion 1 and 2."""
    image_size: int = 256
    """Pixels per side where nobody says otherwise; any multiple of `stride` can be encoded."""
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Width of every level."""
    layers_per_block: int = 2
    """Residual blocks of every level."""
    norm_groups: int = 32
    """Groups of the group norms."""

    def __post_init__(self):
        for name in ("latent_channels", "scaling_factor", "packing", "layers_per_block", "norm_groups"):
            if getattr(self, name) <= 0:
                raise ValueError(f"vae.{name}: expected a positive number, got {getattr(self, name)}")
        if not self.widths or any(width < 1 or width % self.norm_groups for width in self.widths):
            raise ValueError(
                f"vae.widths: expected multiples of norm_groups = {self.norm_groups}, got {self.widths}"
            )
        if self.image_size < 1 or self.image_size % self.stride:
            raise ValueError(
                f"vae.image_size: expected a multiple of {self.stride} pixels, got {self.image_size}"
            )

    @property
    def stride(self) -> int:
        """Pixels per side in one token."""
        return 2 ** (len(self.widths) - 1) * self.packing

    @property
    def channels(self) -> int:
        """C, numbers in one token."""
        return self.latent_channels * self.packing**2

    @property
    def grid(self) -> int:
        """Tokens per side of a picture of image_size."""
        return self.image_size // self.stride


@dataclass(frozen=True)
class SDVAEConfig(VAEConfig):
    """Stable Diffusion 1 and 2, and so SiT and REPA: 256 pixels are 1024 tokens of 4 (DiTs gather 2x2)."""

    latent_channels: int = 4
    scaling_factor: float = 0.18215
    quant_conv: bool = True


@dataclass(frozen=True)
class SD3VAEConfig(VAEConfig):
    """Stable Diffusion 3: 256 pixels are 1024 tokens of 16 (the MM-DiT gathers 2x2)."""

    latent_channels: int = 16
    scaling_factor: float = 1.5305
    shift_factor: float = 0.0609


@dataclass(frozen=True)
class FluxVAEConfig(VAEConfig):
    """FLUX.1: 256 pixels are 256 tokens of 64."""

    latent_channels: int = 16
    scaling_factor: float = 0.3611
    shift_factor: float = 0.1159
    packing: int = 2


class VAE(nn.Module):
    """A published VAE: pixels in [0, 1] to normalised latents and back.

    Raises:
        ImportError: diffusers is not installed.
    """

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        self.tower = build_tower(config)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return latents [B N C], the posterior's mean, of pixels [B 3 Hp Wp] in [0, 1].

        Raises:
            ValueError: Hp or Wp is not a multiple of config.stride.
        """
        return self.moments(pixels)[0]

    def sample(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return latents [B N C] drawn from the posterior of pixels [B 3 Hp Wp] in [0, 1].

        The noise is drawn as diffusers draws it: one [B latent_channels h w] on the generator's device.
        """
        sizes = expect("pixels", pixels, "B 3 Hp Wp")
        size = sizes["Hp"] // self.config.stride, sizes["Wp"] // self.config.stride
        return self.draw(*self.moments(pixels), generator, size)

    def draw(
        self, mean: Tensor, std: Tensor, generator: torch.Generator, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Return a sample [B N C] of the posterior of this mean and std [B N C], as `sample` draws it.

        Args:
            mean: as `moments` gives it.
            std: the same.
            generator: of the noise.
            size: rows and columns of tokens; None for a square.

        Raises:
            ValueError: another C, or an N that does not fit the size.
        """
        rows, columns = grid_of(mean, size, self.config.channels)
        packing = self.config.packing
        shape = (len(mean), self.config.latent_channels, rows * packing, columns * packing)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return mean + std * self.pack(noise.to(mean.device))

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std [B N C] of the latents' posterior, float32, of pixels [B 3 Hp Wp] in [0, 1].

        A cache holds these: a new sample each epoch is mean + std * noise.
        """
        sizes = expect("pixels", pixels, "B 3 Hp Wp")
        if sizes["Hp"] % self.config.stride or sizes["Wp"] % self.config.stride:
            raise ValueError(
                f"pixels: expected sides that are multiples of {self.config.stride}, "
                f"got {sizes['Hp']} x {sizes['Wp']}; resize or crop first"
            )
        posterior = self.tower.encode((pixels * 2 - 1).to(self.tower.dtype)).latent_dist
        mean = (posterior.mean.float() - self.config.shift_factor) * self.config.scaling_factor
        return self.pack(mean), self.pack(posterior.std.float() * self.config.scaling_factor)

    def forward(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp], nominally in [0, 1] but not clamped, of latents [B N C].

        Args:
            latents: normalised.
            size: rows and columns of tokens; None for a square.

        Raises:
            ValueError: another C, or an N that does not fit the size.
        """
        z = self.unpack(latents.float(), size) / self.config.scaling_factor + self.config.shift_factor
        return self.tower.decode(z.to(self.tower.dtype)).sample.float() / 2 + 0.5

    def decode(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return pixels [B 3 Hp Wp] clamped to [0, 1] of latents [B N C]; see `forward`.

        Raises:
            ValueError: besides, latents that are not finite.
        """
        return self(finite(latents), size).clamp(0, 1)

    def pack(self, maps: Tensor) -> Tensor:
        """Return tokens [B N C] of maps [B latent_channels h w]; inside a token (channel, row, column)."""
        return F.pixel_unshuffle(maps, self.config.packing).flatten(2).mT

    def unpack(self, tokens: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return maps [B latent_channels h w] of tokens [B N C]: the way back."""
        rows, columns = grid_of(tokens, size, self.config.channels)
        return F.pixel_shuffle(tokens.mT.unflatten(2, (rows, columns)), self.config.packing)


def build_tower(config: VAEConfig) -> nn.Module:
    """Return diffusers' AutoencoderKL of these sizes, with random weights.

    Raises:
        ImportError: diffusers is not installed.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ImportError("vae: diffusers is not installed; pip install 'unimm[vae]'") from error
    levels = len(config.widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.widths,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        scaling_factor=config.scaling_factor,
        shift_factor=config.shift_factor,
        use_quant_conv=config.quant_conv,
        use_post_quant_conv=config.quant_conv,
    )
