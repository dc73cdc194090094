"""Differentiable augmentation of what a discriminator sees (Zhao et al. 2020, as StyleGAN-T draws it).

The published code works on pixels in [-1, 1]; here they are in [0, 1] as everywhere. The two are the same
function: its zero is our mid-grey, its brightness of 0.5 our 0.25, saturation and contrast scale about a
mean and do not care.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.shapes import expect

NUM_DRAWS = 7
"""Uniform numbers per picture: two of translation, brightness, saturation, contrast, two of cutout."""
GREY = 0.5
"""What stands where a picture was moved away or cut out."""


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly. The defaults are RAE's."""

    probability: float = 1.0
    """Of moving, of recolouring and of cutting out: each is drawn once for the whole batch."""
    translation: float = 0.125
    """Largest move, of the picture's height and width."""
    cutout: float = 0.0
    """Side of the square cut out, of the picture's height and width; StyleGAN-T's own is 0.2."""

    def __post_init__(self):
        for name in ("probability", "translation", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name}: expected a number in [0, 1], got {getattr(self, name)}")


def diff_augment(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return pixels [B 3 Hp Wp] in [0, 1] moved and recoloured at random; values may leave [0, 1].

    Draws on the generator's device. Gradients pass through to the pixels.
    """
    device = generator.device
    happens = torch.rand(3, generator=generator, device=device) <= config.probability
    draws = torch.rand(NUM_DRAWS, pixels.shape[0], generator=generator, device=device)
    return augment(pixels, draws.to(pixels.device), happens.tolist(), config)


def augment(pixels: Tensor, draws: Tensor, happens: list[bool], config: AugmentConfig) -> Tensor:
    """Return pixels [B 3 Hp Wp] augmented by given draws.

    Args:
        pixels: [B 3 Hp Wp] in [0, 1].
        draws: [7 B], uniform in [0, 1), in the order that NUM_DRAWS lists.
        happens: whether to move, to recolour, to cut out.
        config: sizes of the moves and holes.
    """
    sizes = expect("pixels", pixels, "B 3 Hp Wp")
    expect("draws", draws, "7 B", B=sizes["B"])
    pixels = pixels.float()
    moves, recolours, cuts = happens
    if moves:
        pixels = translate(pixels, draws[0], draws[1], config.translation)
    if recolours:
        pixels = recolour(pixels, *draws[2:5])
    if cuts and config.cutout > 0:
        pixels = cut_out(pixels, draws[5], draws[6], config.cutout)
    return pixels


def translate(pixels: Tensor, down: Tensor, right: Tensor, ratio: float) -> Tensor:
    """Move each picture by whole pixels; down and right are uniform [B]."""
    count, _, height, width = pixels.shape
    reach = round(height * ratio), round(width * ratio)
    padded = F.pad(pixels, (reach[1], reach[1], reach[0], reach[0]), value=GREY)
    rows = _places(down, reach[0], height)[:, :, None]
    columns = _places(right, reach[1], width)[:, None, :]
    each = torch.arange(count, device=pixels.device)[:, None, None]
    return padded[each, :, rows, columns].permute(0, 3, 1, 2)


def _places(uniform: Tensor, reach: int, size: int) -> Tensor:
    """Return [B size]: which rows (or columns) of the padded picture are seen."""
    starts = (uniform * (2 * reach + 1)).floor().long()
    return starts[:, None] + torch.arange(size, device=uniform.device)


def recolour(pixels: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add up to a quarter, scale colours about grey by 0 to 2, scale about the mean by 0.5 to 1.5."""
    brightness, saturation, contrast = (x[:, None, None, None] for x in (brightness, saturation, contrast))
    pixels = pixels + (brightness - 0.5) / 2
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = (pixels - grey) * (2 * saturation) + grey
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return (pixels - mean) * (contrast + 0.5) + mean


def cut_out(pixels: Tensor, down: Tensor, right: Tensor, ratio: float) -> Tensor:
    """Grey out one rectangle of each picture; it may hang over the edge."""
    rows = _hole(down, pixels.shape[2], ratio)[:, :, None]
    columns = _hole(right, pixels.shape[3], ratio)[:, None, :]
    return torch.where((rows & columns)[:, None], GREY, pixels)


def _hole(uniform: Tensor, size: int, ratio: float) -> Tensor:
    """Return bool [B size]: which rows (or columns) the hole covers."""
    side = int(size * ratio + 0.5)
    centres = (uniform * (size + 1 - side % 2)).floor().long()[:, None]
    places = torch.arange(size, device=uniform.device)
    return (places >= centres - side // 2) & (places < centres - side // 2 + side)
