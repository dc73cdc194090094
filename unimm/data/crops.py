"""Cutting pictures to a square, exactly as published training sets were cut."""

from __future__ import annotations

import numpy as np
from PIL import Image


def centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [size size 3], the middle of a picture uint8 [H W 3], resized so that it just fits.

    ADM's crop (Dhariwal and Nichol 2021), the one of DiT, SiT, REPA and RAE: halve with a box filter while
    the short side is at least twice the size, then resize with a bicubic filter. Small pictures grow.

    Raises:
        ValueError: no uint8 RGB picture, or a size below 1.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture: expected uint8 [H W 3], got {picture.dtype} of shape {picture.shape}")
    if size < 1:
        raise ValueError(f"size: expected 1 or more, got {size}")
    image = Image.fromarray(picture)
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))
