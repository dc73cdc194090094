"""Pixels: pictures in, pictures out. Float in [0, 1], [B 3 Hp Wp], RGB, everywhere else in the house."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from unimm.shapes import expect

MAX_PIXELS = 64_000_000
"""Pictures above this are refused before they are decoded: a small file can unpack to gigabytes."""

Source = str | Path | bytes | Image.Image | np.ndarray


def load_image(source: Source) -> Image.Image:
    """Return an RGB picture, decoded in full.

    Args:
        source: a path, the bytes of a file, a PIL picture, or an array [H W 3] or [H W], uint8 or
            float in [0, 1]. The camera's orientation is applied; transparency is laid on white.

    Raises:
        FileNotFoundError: no such path.
        ValueError: not a picture, cut short, above MAX_PIXELS, or an array that is no picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source, "image")
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), f"image ({len(source)} bytes)")
    if not isinstance(source, (str, Path)):
        raise ValueError(
            f"image: expected a path, bytes, a PIL picture or an array, got {type(source).__name__}"
        )
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"image: no file at {path}")
    return _decode(path, str(path))


def to_pixels(images: Sequence[Source], size: int) -> Tensor:
    """Return pixels [B 3 size size] of pictures, each squeezed to a square (aspect ratio not kept)."""
    if isinstance(images, (str, Path, bytes, Image.Image)):
        raise ValueError(f"images: expected a list of pictures, got one {type(images).__name__}")
    return torch.cat([resize_pixels(_tensor(load_image(image)), size) for image in images])


def resize_pixels(pixels: Tensor, size: int) -> Tensor:
    """Return pixels [B 3 size size] of pixels [B 3 Hp Wp]: bilinear, antialiased when shrinking.

    The one resampler of training and inference; it agrees with PIL's bilinear to rounding.
    """
    expect("pixels", pixels, "B 3 Hp Wp")
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Return RGB pictures of pixels [B 3 Hp Wp]; clamped to [0, 1], rounded to 256 levels.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    return _images(_scaled(pixels).round())


def to_reference_images(pixels: Tensor) -> list[Image.Image]:
    """Return what `to_images` does, but cut down to the level below, as RAE and Scale-RAE publish.

    Pictures come out half a level darker on average. Only for numbers that are compared with theirs.
    """
    return _images(_scaled(pixels))


def _scaled(pixels: Tensor) -> Tensor:
    """Return pixels in [0, 255], float32 on the CPU."""
    expect("pixels", pixels, "B 3 Hp Wp")
    pixels = pixels.detach().float().cpu()
    if not torch.isfinite(pixels).all():
        raise ValueError("pixels: expected finite numbers, got NaN or infinity")
    return pixels.clamp(0, 1) * 255


def _images(levels: Tensor) -> list[Image.Image]:
    pictures = levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(picture) for picture in pictures]


def _decode(file: io.BytesIO | Path, name: str) -> Image.Image:
    """Open, measure, and only then decode."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: {error}; the limit is {MAX_PIXELS} pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: not a picture that can be read ({error})") from error
    with image:
        return _to_rgb(image, name)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{name}: {image.width} x {image.height} is above the limit of {MAX_PIXELS} pixels")
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"{name}: damaged or cut short ({error})") from error
    if image.mode.startswith("I;16"):
        return _from_array((np.asarray(image) / 65535.0).astype(np.float32))
    if image.mode in ("I", "F"):
        raise ValueError(f"{name}: mode {image.mode} has no known range; pass a float array in [0, 1]")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ValueError(f"image: expected an array [H W 3] or [H W], got shape {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ValueError(f"image: shape {array.shape} is above the limit of {MAX_PIXELS} pixels")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("image: expected a float array in [0, 1]; divide by 255 or pass uint8")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"image: expected an array of uint8 or float in [0, 1], got {array.dtype}")
    return Image.fromarray(array).convert("RGB")


def _tensor(image: Image.Image) -> Tensor:
    """Return [1 3 Hp Wp] in [0, 1]."""
    array = np.array(image, dtype=np.uint8)
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255
