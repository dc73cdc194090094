"""Published checkpoints as generators ready to draw, by a short kind; and back into files of that kind."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from unimm.generator.base import Generator
from unimm.generator.published.lightningdit import load_lightningdit, save_lightningdit
from unimm.generator.published.rae import load_rae, load_rae_diffusers, save_rae
from unimm.generator.published.sd3 import load_sd3, load_sd3_file, save_sd3
from unimm.generator.published.sit import load_dit, load_repa, load_sit, save_dit, save_repa, save_sit
from unimm.tables import pick
from unimm.weights.whole import save_whole

__all__ = [
    "PUBLISHED",
    "SAVED",
    "load_dit",
    "load_lightningdit",
    "load_published",
    "load_rae",
    "load_rae_diffusers",
    "load_repa",
    "load_sd3",
    "load_sd3_file",
    "load_sit",
    "save_published",
]

PUBLISHED: dict[str, Callable[..., Generator]] = {
    "rae": load_rae,
    "rae_diffusers": load_rae_diffusers,
    "lightningdit": load_lightningdit,
    "sit": load_sit,
    "repa": load_repa,
    "dit": load_dit,
    "sd3": load_sd3,
    "sd3_file": load_sd3_file,
}
"""What loads the files of each kind."""

SAVED: dict[str, Callable[..., None]] = {
    "rae": save_rae,
    "lightningdit": save_lightningdit,
    "sit": save_sit,
    "repa": save_repa,
    "dit": save_dit,
    "sd3": save_sd3,
}
"""What writes the files of each kind that its generators are trained into; frozen parts stay as they came."""


def load_published(kind: str, **paths: Any) -> Generator:
    """Return a published system as a generator in evaluation mode.

    Args:
        kind: a row of PUBLISHED.
        paths: its files and folders, and its options, by the names of that function's arguments.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: an unknown kind (the nearest is offered), paths that are missing or that it does not
            take, a file that cannot be read safely, or tensors that do not fit, all listed.
    """
    load = pick("published", kind, PUBLISHED)
    parameters = inspect.signature(load).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    others = [] if any(p.kind is p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]
    faults = {
        "missing": [name for name in needed if name not in paths],
        "unknown": [name for name in paths if others and name not in others],
    }
    listed = [f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names]
    if listed:
        raise ValueError(f"published {kind!r}: expected {', '.join(needed)}; " + "; ".join(listed))
    return load(**paths)


def save_published(kind: str, model: Generator, folder: str | os.PathLike[str]) -> None:
    """Write what a generator was trained into as published files of a kind, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing has changed then.
        ValueError: an unknown kind, or a generator of other parts.
    """
    save_whole(partial(pick("published", kind, SAVED), model), folder)
