"""Pictures of strangers' data: where their bytes are, and opening them so that none of them does harm."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

from unimm.data.samples import BrokenSample
from unimm.latents.pixels import MAX_PIXELS, load_image

MAX_FILE_BYTES = 256 * 2**20
"""Above every photograph; files beyond are refused unread."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is opened. Pillow knows more, some of which start other programs (EPS: Ghostscript)."""


@dataclass(frozen=True)
class ImageRef:
    """A picture inside a larger file: `size` bytes from `offset`; `name` is what the file calls it."""

    path: str
    offset: int
    size: int
    name: str


Stored = str | Path | bytes | ImageRef


class Measured(NamedTuple):
    """What a picture's header says."""

    width: int
    height: int
    format: str
    mode: str


def name_of(stored: Stored) -> str:
    """Return what to call a picture in a sentence."""
    if isinstance(stored, bytes):
        return f"picture of {len(stored)} bytes"
    return f"{stored.path}:{stored.name}" if isinstance(stored, ImageRef) else str(stored)


def read_picture(stored: Stored, key: str) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        BrokenSample: no such file, an empty or a huge one, or one that ends early.
    """
    if isinstance(stored, bytes):
        _expect_size(len(stored), stored, key)
        return stored
    try:
        return _read_inside(stored, key) if isinstance(stored, ImageRef) else _read_file(Path(stored), key)
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenSample):
            raise
        raise BrokenSample(key, f"{name_of(stored)}: cannot be read ({error})", "missing") from error


def _read_file(path: Path, key: str) -> bytes:
    _expect_file(path, key)
    return path.read_bytes()


def _expect_file(path: Path, key: str) -> None:
    if not path.is_file():  # a folder, or a pipe that would never end
        raise BrokenSample(key, f"no file at {path}", "missing")
    _expect_size(path.stat().st_size, path, key)


def _read_inside(stored: ImageRef, key: str) -> bytes:
    _expect_size(stored.size, stored, key)
    with open(stored.path, "rb", buffering=0) as file:
        file.seek(stored.offset)
        content = file.read(stored.size)
    if len(content) != stored.size:
        reason = f"{name_of(stored)}: expected {stored.size} bytes, the file ends after {len(content)}"
        raise BrokenSample(key, reason, "damage")
    return content


def _expect_size(size: int, stored: Stored, key: str) -> None:
    if not size:
        raise BrokenSample(key, f"{name_of(stored)}: an empty file", "picture")
    if size > MAX_FILE_BYTES:
        reason = f"{name_of(stored)}: expected at most {MAX_FILE_BYTES} bytes, got {size}"
        raise BrokenSample(key, reason, "picture")


def open_picture(stored: Stored, key: str) -> Image.Image:
    """Return an RGB picture, decoded in full; upright by its EXIF, transparency on white, CMYK turned to RGB.

    Args:
        stored: the `image` of an `Image` part of a `Sample`.
        key: of the sample, for the error.

    Raises:
        BrokenSample: not there, not a picture of FORMATS, cut short, animated, or above MAX_PIXELS.
    """
    return decode_picture(read_picture(stored, key), key, name_of(stored))


def decode_picture(content: bytes, key: str, name: str) -> Image.Image:
    """Return `open_picture` of the bytes of a file, which errors call `name`."""
    measure_picture(content, key, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about tags that are not read here
            return load_image(content)
    except Exception as error:  # a stranger's bytes can make a parser raise anything
        raise BrokenSample(key, f"{name}: {_told(error)}", "picture") from error


def measure_picture(content: bytes, key: str, name: str) -> Measured:
    """Return what the header of a picture says; nothing is decoded.

    Raises:
        BrokenSample: not a picture of FORMATS, animated, or above MAX_PIXELS.
    """
    return _measure(io.BytesIO(content), key, name)


def measure_file(path: Path, key: str) -> Measured:
    """Return what the header of a picture's file says; of what comes after it as good as nothing is read.

    Raises:
        BrokenSample: as `read_picture` and `measure_picture`.
    """
    try:
        _expect_file(path, key)
        with path.open("rb") as file:
            return _measure(file, key, str(path))
    except OSError as error:
        raise BrokenSample(key, f"{path}: cannot be read ({error})", "missing") from error


def _measure(file: BinaryIO, key: str, name: str) -> Measured:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # above all Pillow's about size: our limit is below
            with Image.open(file, formats=_formats()) as image:
                found = Measured(*image.size, image.format or "?", image.mode)
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a camera's
    except UnidentifiedImageError as error:  # whose words name an address in memory
        file.seek(0)
        known, begin = ", ".join(_formats()), file.read(12)
        reason = f"{name}: not a picture that can be read ({known}), it begins with {begin!r}"
        raise BrokenSample(key, reason, "picture") from error
    except Exception as error:  # see above
        raise BrokenSample(
            key, f"{name}: not a picture that can be read ({_told(error)})", "picture"
        ) from error
    if found.width * found.height > MAX_PIXELS:
        reason = f"{name}: {found.width} x {found.height} is above the limit of {MAX_PIXELS} pixels"
        raise BrokenSample(key, reason, "picture")
    if frames > 1:
        reason = f"{name}: expected one picture, got {frames} frames; save the one that is meant"
        raise BrokenSample(key, reason, "picture")
    return found


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
