"""The discriminator: frozen DINO features at several depths, one trainable head each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.shapes import expect
from unimm.training.adversary.heads import Head
from unimm.training.adversary.vit import FrozenViT


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of a discriminator. The defaults are RAE's: DINO ViT-S/8."""

    image_size: int = 224
    """Pixels per side that the backbone sees; pictures are resized to it."""
    patch_size: int = 8
    """Pixels per patch side."""
    width: int = 384
    """W, of the backbone and of every head."""
    depth: int = 12
    """Blocks of the backbone."""
    heads: int = 6
    """Attention heads of the backbone."""
    mlp_width: int = 1536
    """Hidden width of the backbone's MLPs."""
    key_depths: tuple[int, ...] = (2, 5, 8, 11)
    """Blocks, counted from 0, whose output a head reads. One more head reads the last block."""
    kernel: int = 9
    """Tokens that a head's convolution spans; odd."""
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of the pixels that the backbone was trained on, by colour; ImageNet's."""
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """See pixel_mean."""

    def __post_init__(self):
        for name in ("image_size", "patch_size", "width", "depth", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"discriminator.{name}: expected a positive number, got {getattr(self, name)}"
                )
        if self.width % self.heads:
            raise ValueError(
                f"discriminator.width: expected a multiple of heads = {self.heads}, got {self.width}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"discriminator.image_size: expected a multiple of patch_size = {self.patch_size}, "
                f"got {self.image_size}"
            )
        if not all(0 <= depth < self.depth for depth in self.key_depths):
            raise ValueError(
                f"discriminator.key_depths: expected blocks 0 to {self.depth - 1}, got {self.key_depths}"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"discriminator.kernel: expected an odd number, got {self.kernel}")

    @property
    def num_logits(self) -> int:
        """Logits per picture: one per token and head."""
        return (len(self.key_depths) + 1) * (self.image_size // self.patch_size) ** 2


class Discriminator(nn.Module):
    """Pictures to logits, high for real ones. Only `heads` train.

    Args:
        config: sizes.
        backbone: frozen eyes of these sizes, called as `FrozenViT` is; None builds that one, at random.
    """

    def __init__(self, config: DiscriminatorConfig, backbone: nn.Module | None = None):
        super().__init__()
        self.config = config
        if backbone is None:
            sizes = (config.width, config.depth, config.heads, config.mlp_width)
            backbone = FrozenViT(config.image_size, config.patch_size, *sizes)
        self.backbone = backbone
        self.depths = (config.depth - 1, *config.key_depths)  # the published heads are in this order
        self.heads = nn.ModuleList([Head(config.width, config.kernel) for _ in self.depths])
        self.register_buffer("mean", torch.tensor(config.pixel_mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.pixel_std)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits [B heads*N], float32, those of one head after those of another.

        In training every call refines the heads' spectral norms by one step, so the logits of two equal
        calls differ a little; in evaluation they do not.

        Args:
            pixels: [B 3 Hp Wp], nominally in [0, 1]; of any size.
        """
        expect("pixels", pixels, "B 3 Hp Wp")
        size = self.config.image_size
        pixels = pixels.float()
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
        seen = self.backbone((pixels - self.mean) / self.std, self.depths)
        logits = [head(seen[depth]) for head, depth in zip(self.heads, self.depths, strict=True)]
        return torch.cat(logits, dim=1).float()
