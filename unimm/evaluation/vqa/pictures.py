"""Pictures of benchmarks: bytes or files of strangers, opened with care."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
"""What is opened; PIL's other readers are not needed for any benchmark here."""


class PictureError(ValueError):
    """A picture that is not there or cannot be read: a failure of one record, not of the run."""


@dataclass(frozen=True)
class Picture:
    """The bytes of a picture, or where they are."""

    source: bytes | Path

    def read(self) -> bytes:
        """Return the bytes as they are stored.

        Raises:
            PictureError: there is no such file.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise PictureError(f"no picture at {self.source} ({error.strerror})") from None


def sha256(data: bytes) -> str:
    """Return the digest of a picture's bytes."""
    return hashlib.sha256(data).hexdigest()


def opened(data: bytes) -> Image.Image:
    """Return a picture in RGB, whole; the first frame of several.

    Raises:
        PictureError: no picture, one that is cut short, or one so large that it must be an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of metadata and palettes: the pixels are read
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return image.convert("RGB")
    except Exception as error:  # a stranger's bytes can make a decoder raise anything
        raise PictureError(f"not readable as a picture ({type(error).__name__}: {error})") from None


def from_base64(text: str) -> Picture:
    """Return the picture in a base64 text.

    Raises:
        PictureError: no base64.
    """
    try:
        return Picture(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"not readable as base64 ({error})") from None
