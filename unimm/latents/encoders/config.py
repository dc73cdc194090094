"""Sizes of a vision encoder, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unimm.latents.decoder import colours


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a vision encoder. Published SigLIP-2 So400m: 224, 14, 1152, 27, 16, 4304; more in PRESETS."""

    image_size: int
    """Pixels per side that enter the tower."""
    patch_size: int
    """Pixels per patch side; a remainder of the image at the right and bottom is not seen."""
    width: int
    """C, latent channels."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    mlp_width: int
    """Hidden width of the MLP; a multiple of the width in DINOv2 and WebSSL."""
    kind: str = "siglip2"
    """Which encoder, from the table ENCODERS."""
    use_head: bool = False
    """Keep the final norm and pooling head of a published SigLIP; latents never pass through them."""
    pixel_mean: float | tuple[float, float, float] = 0.5
    """Pixels enter the tower as (pixels - mean) / std; one number, or red, green, blue."""
    pixel_std: float | tuple[float, float, float] = 0.5
    """See pixel_mean."""
    native_size: int | None = None
    """Pixels per side that the position table was made for (DINOv2: 518); None: image_size. Where it gives
    another grid than image_size, the table is resampled as transformers does it."""
    registers: int = 0
    """Register tokens; DINOv2 with registers has 4."""
    norm_eps: float = 1e-6
    """Of every LayerNorm, the last included; MAE has 1e-12."""
    resize: Literal["refuse", "bicubic"] = "refuse"
    """What befalls pixels of another size: an error, or (Zheng et al. 2025) bicubic without antialiasing."""

    def __post_init__(self):
        for name in ("image_size", "patch_size", "width", "depth", "heads", "mlp_width", "norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"encoder.{name}: expected a positive number, got {getattr(self, name)}")
        for name in ("image_size", "native_size"):
            size = getattr(self, name)
            if size is not None and self.patch_size > size:
                raise ValueError(f"encoder.patch_size: expected at most {name} {size}, got {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"encoder.width: expected a multiple of heads = {self.heads}, got {self.width}")
        if self.registers < 0 or (self.registers and self.kind != "dinov2reg"):
            raise ValueError(f"encoder.registers: expected 0 for kind {self.kind!r}, got {self.registers}")
        if self.use_head and self.kind != "siglip2":
            raise ValueError(
                f"encoder.use_head: expected false for kind {self.kind!r}; only SigLIP has a head"
            )
        for name in ("pixel_mean", "pixel_std"):
            colours(getattr(self, name), f"encoder.{name}")
        if not (colours(self.pixel_std) > 0).all():
            raise ValueError(f"encoder.pixel_std: expected positive numbers, got {self.pixel_std}")

    @property
    def grid(self) -> int:
        """Latent tokens per side."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid**2

    @property
    def table_size(self) -> int:
        """Pixels per side that the position table was made for."""
        return self.image_size if self.native_size is None else self.native_size

    @property
    def resamples_positions(self) -> bool:
        """Whether the position table's grid is another one than the latents'."""
        return self.table_size // self.patch_size != self.grid
