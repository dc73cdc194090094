"""What commands begin with: a model by name, pictures and latents by path, and a bar while they wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from unimm import UniMM

DTYPES = ("float32", "bfloat16", "float16")


def open_model(
    name: str,
    device: str,
    dtype: str = "float32",
    profile: str = "standard",
    compiled: bool = False,
    revision: str | None = None,
    adapter: Path | None = None,
) -> UniMM:
    """Return a model by name, ready to draw on a device.

    Raises:
        ValueError: a device that is not there, a dtype or profile that nothing has, or an adapter of another
            model.
    """
    with status(f"loading {name}"):
        import torch

        from unimm import UniMM
        from unimm.app.device import device_named
        from unimm.loaded import quiet
        from unimm.tables import expect_known

        place = device_named(device)
        expect_known("--dtype", dtype, DTYPES)
        hub = {} if revision is None else {"revision": revision}
        with quiet():  # transformers writes its bars to files too
            model = UniMM.from_pretrained(
                name, dtype=getattr(torch, dtype), profile=profile, adapter=adapter, **hub
            )
        model = model.eval().to(place)
    if compiled:
        model.compile_drawing()
    return model


def open_picture(path: Path) -> Image.Image:
    """Open a picture before any model is loaded, so that a bad one is told at once."""
    from unimm.latents.pixels import load_image

    return load_image(path)


def open_context(path: Path) -> Image.Image | Tensor:
    """Open a picture, or the latents [N C] that `unimm generate --save-latents` wrote."""
    if path.suffix != ".safetensors":
        return open_picture(path)
    from unimm.app.files import read_latents

    return read_latents(path)


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show what is going on, where a person watches."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(text) if console.is_terminal else nullcontext():
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a `callback(step, total)` that moves a bar on stderr, or None where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda step, total: bar.update(task, completed=step, total=total)
