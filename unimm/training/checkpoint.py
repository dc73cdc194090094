"""Checkpoints: whole or absent. Weights are safetensors, optimiser state is read with `weights_only`.

A run keeps:

    run/checkpoints/step-00001000/
        weights.safetensors    every module of the stage, "module.path.to.tensor"
        ema.safetensors        the averages, where they are kept
        optimizer.pt           (or what another engine writes)
        state.json             step, samples, seconds, num_ema_updates
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PREFIX, PARTIAL = "step-", ".partial-"


def checkpoints(run: str | Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(p for p in (Path(run) / "checkpoints").glob(f"{PREFIX}*") if (p / "state.json").exists())


def latest(run: str | Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    return (checkpoints(run) or [None])[-1]


def write(run: Path, step: int, fill: Callable[[Path], None], keep_last: int) -> Path:
    """Let `fill` write into a hidden folder, then give it its name in one rename, then drop the oldest.

    Raises:
        OSError: the disk is full or not writable. Nothing is left behind and earlier checkpoints are as they
        were.
    """
    partial = begin(run, step)
    try:
        fill(partial)
        return commit(partial, keep_last)
    except OSError as error:
        raise OSError(refusal(run, step, error)) from error
    finally:
        abandon(partial)


def begin(run: Path, step: int) -> Path:
    """Make the hidden folder of a checkpoint.

    Raises:
        OSError: it cannot be made.
    """
    partial = run / "checkpoints" / f"{PARTIAL}{step:08d}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise OSError(refusal(run, step, error)) from error
    return partial


def commit(partial: Path, keep_last: int) -> Path:
    """Give a filled folder its name; keep only the newest checkpoints."""
    final = partial.with_name(partial.name.replace(PARTIAL, PREFIX))
    for path in partial.rglob("*"):
        _sync(path)
    if final.exists():  # the same step again: rename needs the name to be free
        shutil.rmtree(final)
    partial.rename(final)
    _sync(final.parent)
    for old in checkpoints(final.parent.parent)[:-keep_last]:
        shutil.rmtree(old)
    return final


def abandon(partial: Path) -> None:
    """Leave nothing of a checkpoint that could not be written."""
    shutil.rmtree(partial, ignore_errors=True)


def refusal(run: Path, step: int, error: Exception) -> str:
    """What to tell the user about a checkpoint that could not be written."""
    previous = latest(run)
    kept = f"{previous} is intact" if previous else "there was none before it"
    return f"{run}: could not save the checkpoint of step {step} ({error}); {kept}; make room and run again"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unique_state(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and persistent buffers by full name, tied ones once: the live tensors, not copies."""
    state, seen = {}, set()
    for module_name, module in modules.items():
        for path, tensor in module.state_dict().items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if tensor.numel() and place in seen:
                continue
            seen.add(place)
            state[f"{module_name}.{path}"] = tensor
    return state


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name; contiguous, on the CPU, dtype as it is."""
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path)
    except SafetensorError as error:  # its word for an OSError
        raise OSError(f"{path.name}: {error}") from error


def save_tensors(tensors: Any, path: Path) -> None:
    """Write nested lists and dicts of tensors and numbers, for `torch.load(..., weights_only=True)`."""
    try:
        torch.save(tensors, path)
    except RuntimeError as error:  # torch's word for a write that did not take all bytes
        raise OSError(f"{path.name}: {' '.join(str(error).split())}") from error


@torch.no_grad()
def load_weights(modules: Mapping[str, nn.Module], path: Path) -> None:
    """Copy a file's tensors into the modules.

    Raises:
        ValueError: names that are missing or unexpected, or a shape that differs; nothing is copied then.
    """
    saved, live = load_file(path), unique_state(modules)
    missing, extra = sorted(set(live) - set(saved)), sorted(set(saved) - set(live))
    if missing or extra:
        raise ValueError(f"{path}: missing {missing or 'nothing'}, unexpected {extra or 'nothing'}")
    for name, tensor in live.items():
        if tensor.shape != saved[name].shape:
            raise ValueError(
                f"{path}: {name}: expected shape {tuple(tensor.shape)}, got {tuple(saved[name].shape)}"
            )
    for name, tensor in live.items():
        tensor.copy_(saved[name])


def averaged_state(folder: str | Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, averages in place of what trained: what one ships and evaluates."""
    folder = Path(folder)
    state = load_file(folder / "weights.safetensors")
    ema = folder / "ema.safetensors"
    return {**state, **(load_file(ema) if ema.exists() else {})}


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(dict(state), indent=1), encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))
