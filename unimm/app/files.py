"""Writing pictures, latents and pages: whole or not at all."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from unimm.whole import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from unimm.model.drawing import GeneratedImages

LATENTS = "latents"
"""The one tensor of a file of latents."""


def encode(image: Image.Image, suffix: str = ".png") -> bytes:
    """Return a picture as the bytes of a file whose name ends in `suffix`."""
    buffer = io.BytesIO()
    image.save(buffer, format=Image.registered_extensions()[suffix.lower()])
    return buffer.getvalue()


def encode_latents(latents: Tensor, prompt: str, seed: int) -> bytes:
    """Return latents [N C] as the bytes of a safetensors file that says what they are of."""
    from safetensors.torch import save

    return save({LATENTS: latents.float().cpu().contiguous()}, {"prompt": prompt, "seed": str(seed)})


def read_latents(path: Path) -> Tensor:
    """Return the latents [N C] that a file holds as `encode_latents` made it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors, or others than latents.
    """
    from unimm.files import read_tensors

    held = read_tensors(path)
    if list(held) != [LATENTS]:
        raise ValueError(
            f"{path}: expected one tensor {LATENTS!r}, as --save-latents writes, got {list(held)}"
        )
    return held[LATENTS].clone()


def write_drawn(drawn: GeneratedImages, out: Path, prompt: str, with_latents: bool) -> Iterator[str]:
    """Write a prompt's pictures under numbered names, their latents beside them if asked; yield a line about
    each, and one about candidates whose score was no number."""
    paths = numbered(out, len(drawn.images))
    for index, (path, image, seed) in enumerate(zip(paths, drawn.images, drawn.seeds, strict=True)):
        write_whole(path, encode(image, path.suffix))
        line = f"{path}  seed {seed}{_judged(drawn, index)}"
        if with_latents:
            content = encode_latents(drawn.latents[index], prompt, seed)
            line += f"  latents {write_whole(path.with_suffix('.safetensors'), content)}"
        yield line
    if drawn.failed:
        yield f"without a score, and so ranked last: seed {', '.join(str(seed) for _, seed in drawn.failed)}"


def _judged(drawn: GeneratedImages, index: int) -> str:
    """Return what a verifier thought of a picture, as part of a line."""
    if drawn.scores is None:
        return ""
    right = (
        "" if drawn.probabilities is None else f", right with probability {drawn.probabilities[index]:.2f}"
    )
    return f"  score {drawn.scores[index]:.3f}, of {drawn.drawn[0]} drawn{right}"


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
