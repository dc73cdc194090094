"""Checkpoints: whole or absent, the last and the best of them kept; nothing in them is a pickle.

A run keeps:

    run/checkpoints/step-00001000/
        weights.safetensors    every module of the stage, "module.path.to.tensor"
        ema.safetensors        the averages, where they are kept
        optimizer.safetensors  what the optimiser keeps of every parameter
        state.json             step, samples, seconds, metrics, what the run was made of
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from unimm.tables import expect_known

PREFIX, PARTIAL = "step-", ".partial-"


def checkpoints(run: str | Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(p for p in (Path(run) / "checkpoints").glob(f"{PREFIX}*") if (p / "state.json").exists())


def latest(run: str | Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    return (checkpoints(run) or [None])[-1]


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay when another is written."""

    last: int = 2
    best: str | None = None  # a metric: the checkpoint stays where it was lowest; "-name": where highest

    @property
    def metric(self) -> str | None:
        """Name of the metric by which the best is kept."""
        return None if self.best is None else self.best.removeprefix("-")

    def check(self, metrics: Mapping[str, float]) -> None:
        """Refuse a name that the metrics do not have.

        Raises:
            ValueError: it is none of them; the nearest is suggested.
        """
        if self.metric is not None:
            expect_known("keep_best", self.metric, metrics)

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """Return what is to be lowest; None where it was not measured, as in steps that were all skipped."""
        value = None if self.metric is None else metrics.get(self.metric)
        return value if value is None or not self.best.startswith("-") else -value


def partial_folder(run: Path, step: int) -> Path:
    """Return the hidden folder in which a checkpoint is made."""
    return run / "checkpoints" / f"{PARTIAL}{step:08d}"


def begin(run: Path, step: int) -> Path:
    """Make the hidden folder of a checkpoint.

    Raises:
        OSError: it cannot be made.
    """
    partial = partial_folder(run, step)
    try:
        for left in partial.parent.glob(f"{PARTIAL}*"):  # by a process that was killed, at whatever step
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise OSError(refusal(run, step, error)) from error
    return partial


def commit(partial: Path, keep: Keep) -> Path:
    """Give a filled folder its name, then drop what need not be kept."""
    final = partial.with_name(partial.name.replace(PARTIAL, PREFIX))
    for path in [*partial.rglob("*"), partial]:
        _sync(path)
    if final.exists():  # the same step again: rename needs the name to be free
        _drop(final)
    partial.rename(final)
    _sync(final.parent)
    run = final.parent.parent
    spared = {*checkpoints(run)[-keep.last :], best(run, keep)}
    for old in checkpoints(run):
        if old not in spared:
            _drop(old)
    return final


def _drop(folder: Path) -> None:
    """Remove a checkpoint: first its name, so that nobody finds a part of it."""
    hidden = folder.with_name(f"{PARTIAL}{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def best(run: str | Path, keep: Keep) -> Path | None:
    """Return the checkpoint at which the metric was best, the earliest of equals; None where none has it."""
    values = {folder: keep.value(read_state(folder).get("metrics") or {}) for folder in checkpoints(run)}
    known = {folder: value for folder, value in values.items() if value is not None}
    return min(known, key=known.get, default=None)


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


def averaged_state(folder: str | Path, averaged: bool = True) -> dict[str, Tensor]:
    """Return the weights of a checkpoint, averages in place of what trained: what one ships and evaluates.

    They are memory maps: read from the disk when they are used. `averaged` False leaves the averages out.
    """
    folder = Path(folder)
    state = load_file(folder / "weights.safetensors")
    ema = folder / "ema.safetensors"
    return {**state, **(load_file(ema) if averaged and ema.exists() else {})}


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(dict(state), indent=1), encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))
