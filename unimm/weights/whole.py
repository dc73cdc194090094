"""A folder written whole or not at all, whatever writes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


def save_whole(write: Callable[[Path], None], folder: str | os.PathLike[str]) -> None:
    """Write a folder aside and put it in place when it is complete; on failure nothing has changed.

    Other files of an existing folder are kept; its old weights are not.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target}: expected a folder to save to, found a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        write(partial)
        give_usual_modes(partial)
        _put_in_place(partial, target)
    except SafetensorError as error:
        raise OSError(f"{target}: the weights could not be written ({error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def give_usual_modes(folder: Path) -> None:
    """Let files be read by whom new ones in their folder may be: safetensors keeps its own private."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _put_in_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = target.with_name(f".{target.name}.old-{os.getpid()}")
    target.rename(old)
    partial.rename(target)
    for entry in old.iterdir():
        is_old_weight = entry.name.startswith("model") and ".safetensors" in entry.name
        if not is_old_weight and not (target / entry.name).exists():
            entry.rename(target / entry.name)
    shutil.rmtree(old)
