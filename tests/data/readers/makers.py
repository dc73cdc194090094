"""Data sets of the world's pictures, written in the layouts that others publish."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from unimm.world.language import caption
from unimm.world.render import render
from unimm.world.scene import sample_scene

PIXELS = 32


def picture(number: int) -> Image.Image:
    """Return picture `number` of the world."""
    return Image.fromarray(render(sample_scene(np.random.default_rng(number)), PIXELS))


def words(number: int) -> str:
    """Return its caption."""
    rng = np.random.default_rng(number)
    return caption(sample_scene(rng), rng)


def encoded(number: int, kind: str = "png", **options) -> bytes:
    """Return it as the bytes of a file."""
    buffer = io.BytesIO()
    picture(number).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> Path:
    """Write a tar of named contents; a TarInfo stands for itself, under its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def blip3o(folder: Path, tars: int = 2, rows: int = 3, with_json: bool = False) -> Path:
    """Write BLIP3-o's tars; caption and picture of row r of tar t are number 100 t + r."""
    for t in range(tars):
        members = []
        for r in range(rows):
            number, key = 100 * t + r, f"{r:09d}"
            members += [(f"{key}.jpg", encoded(number, "jpeg")), (f"{key}.txt", words(number).encode())]
            if with_json:
                facts = {"original": f"alt text {number}", "width": PIXELS}
                members.append((f"{key}.json", json.dumps(facts).encode()))
        write_tar(folder / f"{t:05d}.tar", members)
    return folder
