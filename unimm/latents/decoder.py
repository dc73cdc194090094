"""The RAE decoder: raw latents to pixels (Zheng et al. 2025; the decoder of He et al. 2022, widened)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unimm.latents.attention import attend
from unimm.shapes import expect, side_of, sincos_table
from unimm.tables import expect_known

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Pixel mean and std of the encoders trained on ImageNet: DINOv2 and MAE, and so of their decoders."""

DECODERS = {
    "B": {"width": 768, "depth": 12, "heads": 12, "mlp_width": 3072},
    "L": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096},
    "XL": {"width": 1152, "depth": 28, "heads": 16, "mlp_width": 4096},
}
"""The published sizes (Zheng et al. 2025, arXiv 2510.11690); XL is the one whose weights were released."""


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder. Published: one of DECODERS on a grid of 16, patch 14 (Scale-RAE), 16 or 32."""

    channels: int
    """C, latent channels."""
    width: int
    """Width of the decoder."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    mlp_width: int
    """Hidden width of the MLP."""
    patch_size: int
    """Pixels per side drawn by one token; need not be the encoder's. Twice as much doubles the picture."""
    grid: int
    """Latent tokens per side; the picture is grid * patch_size pixels wide."""
    pixel_mean: float | tuple[float, float, float] = 0.5
    """The last projection is in normalised pixels; pixels = out * std + mean, by colour or for all three."""
    pixel_std: float | tuple[float, float, float] = 0.5
    """See pixel_mean."""
    norm_eps: float = 1e-12
    """Epsilon of the layer norms; the published value."""
    position_step: float = 1.0
    """Distance between neighbours in the position table; diffusers has 16 / grid, which differs off 16."""

    def __post_init__(self):
        for name in ("channels", "width", "depth", "heads", "mlp_width", "patch_size", "grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"decoder.{name}: expected a positive number, got {getattr(self, name)}")
        if not self.position_step > 0:
            raise ValueError(f"decoder.position_step: expected a positive number, got {self.position_step}")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"decoder.width: expected a multiple of 4 and of heads = {self.heads}, got {self.width}"
            )
        for name in ("pixel_mean", "pixel_std"):
            colours(getattr(self, name), f"decoder.{name}")
        if not (colours(self.pixel_std) > 0).all():
            raise ValueError(f"decoder.pixel_std: expected positive numbers, got {self.pixel_std}")

    @property
    def image_size(self) -> int:
        """Pixels per side of the picture."""
        return self.grid * self.patch_size


def decoder_config(size: str, channels: int, patch_size: int, grid: int = 16, **options) -> DecoderConfig:
    """Return the config of a published size, a name in DECODERS; `options` are further fields.

    Raises:
        ValueError: an unknown size; the message suggests the nearest one.
    """
    expect_known("decoder size", size, DECODERS)
    return DecoderConfig(channels=channels, patch_size=patch_size, grid=grid, **DECODERS[size] | options)


class RAEDecoder(nn.Module):
    """A plain transformer with a class token and fixed positions; each latent token draws one patch."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.embed = nn.Linear(config.channels, config.width)
        self.class_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList([DecoderBlock(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.out = nn.Linear(config.width, 3 * config.patch_size**2)
        for name in ("positions", "pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.reset_tables()
        self.reset_parameters()

    def forward(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp], nominally in [0, 1] but not clamped, from raw latents [B N C].

        Raises:
            ValueError: latents are not [B N C] of this decoder's grid and channels; see `patches_resized`.
        """
        return self.pixels(self.patches(latents))

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp] clamped to [0, 1] from raw latents [B N C]."""
        return self(latents).clamp(0, 1)

    def patches(self, latents: Tensor) -> Tensor:
        """Return normalised pixels by patch [B N p*p*3], each in the order (y, x, channel)."""
        expect("latents", latents, "B N C", N=self.config.grid**2, C=self.config.channels)
        return self._patches(self._embedded(latents))

    def patches_resized(self, latents: Tensor) -> Tensor:
        """Return patches as `patches` does, from latents of any square grid [B M C].

        As published, the embedded tokens are resampled to this decoder's grid, not the latents. The two
        are the same map (both are affine along other dimensions) up to rounding.

        Raises:
            ValueError: latents of other channels, or whose tokens form no square.
        """
        expect("latents", latents, "B M C", C=self.config.channels)
        return self._patches(resize_latents(self._embedded(latents), self.config.grid))

    def pixels(self, patches: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp] in float32, not clamped, from normalised patches [B N p*p*3]."""
        return self.unpatchify(patches.float()) * self.pixel_std + self.pixel_mean

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Return [B 3 Hp Wp] from patches [B N p*p*3] in reading order."""
        grid, patch = self.config.grid, self.config.patch_size
        tiles = patches.reshape(-1, grid, grid, patch, patch, 3)
        return tiles.permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, grid * patch, grid * patch)

    def reset_tables(self) -> None:
        """Recompute the constants in float32 on the device where they are. The class token's row is 0."""
        device = self.positions.device
        self.positions = sincos_table(self.config.grid, self.config.width, self.config.position_step).to(
            device
        )
        self.pixel_mean = colours(self.config.pixel_mean).to(device)
        self.pixel_std = colours(self.config.pixel_std).to(device)

    def reset_parameters(self) -> None:
        """Set every parameter: linear weights Xavier uniform, biases 0, class token N(0, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_token, std=0.02)

    def _embedded(self, latents: Tensor) -> Tensor:
        return self.embed(latents.to(self.embed.weight.dtype))

    def _patches(self, h: Tensor) -> Tensor:
        """Return patches [B N p*p*3] of embedded tokens [B N width] without positions."""
        h = h + self.positions.to(h.dtype)
        h = torch.cat([self.class_token.to(h.dtype).expand(len(h), 1, -1), h], dim=1)
        remembers = not (self.gradient_checkpointing and self.training)
        for block in self.blocks:
            h = block(h) if remembers else checkpoint(block, h, use_reentrant=False)
        return self.out(self.norm(h))[:, 1:]

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the constants float32."""
        super()._apply(fn, recurse)
        self.reset_tables()
        return self


class DecoderBlock(nn.Module):
    """Pre-norm attention and MLP with exact GELU, biases everywhere."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.attention_out = nn.Linear(config.width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp_in = nn.Linear(config.width, config.mlp_width)
        self.mlp_out = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.attention_out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


def resize_latents(latents: Tensor, grid: int) -> Tensor:
    """Return latents [B N C] resampled bilinearly to grid x grid tokens, for a decoder of another grid."""
    expect("latents", latents, "B N C")
    side = side_of(latents.shape[1])
    maps = latents.mT.unflatten(-1, (side, side))
    return F.interpolate(maps, size=(grid, grid), mode="bilinear", align_corners=False).flatten(2).mT


def colours(value: float | tuple[float, float, float], name: str = "value") -> Tensor:
    """Return float32 [3 1 1] (CPU, whatever device is current) of one number per colour or one for all.

    Raises:
        ValueError: neither one number nor three.
    """
    numbers = value if isinstance(value, (tuple, list)) else (value,) * 3
    if len(numbers) != 3:
        raise ValueError(f"{name}: expected one number or three (red, green, blue), got {value}")
    return torch.tensor(numbers, dtype=torch.float32, device="cpu")[:, None, None]
