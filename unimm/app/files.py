"""Writing pictures and pages: whole or not at all."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from PIL import Image


def write(path: Path, content: bytes | str) -> Path:
    """Write a file so that it is there whole or not at all; an older one stays until the new one is complete.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path


def encode(image: Image.Image, suffix: str = ".png") -> bytes:
    """Return a picture as the bytes of a file whose name ends in `suffix`."""
    buffer = io.BytesIO()
    image.save(buffer, format=Image.registered_extensions()[suffix.lower()])
    return buffer.getvalue()


def check_out(out: Path) -> Path:
    """Refuse a name for a picture that could not be written; better before the drawing than after it.

    Raises:
        ValueError: the ending names no picture format that can be written.
        FileNotFoundError: the folder is not there.
    """
    known = {end for end, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    if out.suffix.lower() not in known:
        raise ValueError(f"--out: expected a name ending in .png, .jpg, .webp or the like, got {str(out)!r}")
    if out.is_dir():
        raise ValueError(f"--out: expected the name of a picture, got the folder {str(out)!r}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out: there is no folder {str(out.parent)!r}; make it first")
    return out


def numbered(out: Path, count: int) -> list[Path]:
    """Return the names of `count` pictures: star.png, or star-1.png, star-2.png, ... for several."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{index}{out.suffix}") for index in range(1, count + 1)]


def unused(folder: Path, stem: str) -> Path:
    """Return the first of stem-1.png, stem-2.png, ... that is not there yet."""
    index = 1
    while (path := folder / f"{stem}-{index}.png").exists():
        index += 1
    return path


def name_for(prompt: str) -> Path:
    """Return the name of a picture whose prompt is all that is known of it: a-red-star.png."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return Path(("-".join(words)[:60] or "picture") + ".png")
