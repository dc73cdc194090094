"""The RAE decoder: raw latents to pixels (Zheng et al. 2025; the decoder of He et al. 2022, widened)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.latents.attention import attend
from unimm.shapes import expect, side_of, sincos_table


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder. Published: 1152 wide, 28 deep, 16 heads, MLP 4096, patch 14, grid 16."""

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
    """Pixels per side drawn by one token; need not be the encoder's."""
    grid: int
    """Latent tokens per side; the picture is grid * patch_size pixels wide."""
    pixel_mean: float = 0.5
    """The last projection is in normalised pixels; pixels = out * std + mean."""
    pixel_std: float = 0.5
    """See pixel_mean."""
    norm_eps: float = 1e-12
    """Epsilon of the layer norms; the published value."""

    def __post_init__(self):
        for name in ("channels", "width", "depth", "heads", "mlp_width", "patch_size", "grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"decoder.{name}: expected a positive number, got {getattr(self, name)}")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"decoder.width: expected a multiple of 4 and of heads = {self.heads}, got {self.width}"
            )

    @property
    def image_size(self) -> int:
        """Pixels per side of the picture."""
        return self.grid * self.patch_size


class RAEDecoder(nn.Module):
    """A plain transformer with a class token and fixed positions; each latent token draws one patch."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.channels, config.width)
        self.class_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList([DecoderBlock(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.out = nn.Linear(config.width, 3 * config.patch_size**2)
        self.register_buffer("positions", torch.empty(0), persistent=False)
        self.reset_tables()
        self.reset_parameters()

    def forward(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp], nominally in [0, 1] but not clamped, from raw latents [B N C].

        Raises:
            ValueError: latents are not [B N C] of this decoder's grid and channels; see `resize_latents`.
        """
        pixels = self.unpatchify(self.patches(latents).float())
        return pixels * self.config.pixel_std + self.config.pixel_mean

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels [B 3 Hp Wp] clamped to [0, 1] from raw latents [B N C]."""
        return self(latents).clamp(0, 1)

    def patches(self, latents: Tensor) -> Tensor:
        """Return normalised pixels by patch [B N p*p*3], each in the order (y, x, channel)."""
        sizes = expect("latents", latents, "B N C", N=self.config.grid**2, C=self.config.channels)
        dtype = self.embed.weight.dtype
        h = self.embed(latents.to(dtype)) + self.positions.to(dtype)
        h = torch.cat([self.class_token.to(h.dtype).expand(sizes["B"], 1, -1), h], dim=1)
        for block in self.blocks:
            h = block(h)
        return self.out(self.norm(h))[:, 1:]

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Return [B 3 Hp Wp] from patches [B N p*p*3] in reading order."""
        grid, patch = self.config.grid, self.config.patch_size
        tiles = patches.reshape(-1, grid, grid, patch, patch, 3)
        return tiles.permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, grid * patch, grid * patch)

    def reset_tables(self) -> None:
        """Recompute the position table in float32 on the device where it is. The class token's row is 0."""
        self.positions = sincos_table(self.config.grid, self.config.width).to(self.positions.device)

    def reset_parameters(self) -> None:
        """Set every parameter: linear weights Xavier uniform, biases 0, class token N(0, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_token, std=0.02)

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the table float32."""
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
