"""What an engine puts into a checkpoint and takes from it: the same files whatever the number of processes.

    weights.safetensors     modules of the stage, all but its `unsaved`: "module.path.to.tensor"
    ema.safetensors         the averages, where they are kept
    optimizer.safetensors   "kind/module.path.to.tensor": exp_avg, exp_avg_sq, step, momentum_buffer

Every process writes the ranges that it holds (see `pieces`), so nobody gathers a model, and reads those that
it will hold, however many there are by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from unimm.training import checkpoint
from unimm.training.pieces import Piece, create, write_pieces

WEIGHTS, AVERAGES, OPTIMIZER = "weights.safetensors", "ema.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class Content:
    """What belongs into one file."""

    tensors: Mapping[str, Tensor]  # whole, or without storage: shapes and dtypes count
    pieces: list[Piece]  # what this process holds of them


class Saver(Protocol):
    """What an engine tells of itself so that it can be saved."""

    rank: int

    def contents(self) -> dict[str, Content]:
        """Return what belongs into every file, by name."""

    def facts(self) -> dict[str, Any]:
        """Return what `load` needs besides, as JSON."""

    def together(self, act: Callable[[], Any], report: Callable[[OSError], OSError]) -> None:
        """Act in every process, and fail in every one where one fails."""


def save(saver: Saver, run: Path, step: int, state: Mapping[str, Any], keep: checkpoint.Keep) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: some process could not write its part; earlier checkpoints are as they were.
    """
    contents, is_first = saver.contents(), saver.rank == 0
    partial = checkpoint.partial_folder(run, step)

    def begin() -> None:
        if is_first:
            checkpoint.begin(run, step)
            for name, content in contents.items():
                create(partial / name, content.tensors)

    def write() -> None:
        for name, content in contents.items():
            write_pieces(partial / name, (p for p in content.pieces if is_first or not p.shared))

    def finish() -> None:
        if is_first:
            checkpoint.write_state(partial, {**state, **saver.facts()})
            checkpoint.commit(partial, keep)

    def report(error: OSError) -> OSError:
        return OSError(checkpoint.refusal(run, step, error))

    try:
        for act in (begin, write, finish):
            saver.together(act, report)
    except OSError:
        if is_first:
            checkpoint.abandon(partial)
        raise


def check_shapes(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse a file that holds other tensors than are there.

    Raises:
        ValueError: names that are missing or unexpected, or a shape that differs; both are named.
    """
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise ValueError(f"{path}: missing {missing or 'nothing'}, unexpected {extra or 'nothing'}")
    for name, x in expected.items():
        if x.shape != found[name].shape:
            shapes = f"expected shape {tuple(x.shape)}, got {tuple(found[name].shape)}"
            raise ValueError(f"{path}: {name}: {shapes}")


def expect_optimizer(folder: Path) -> Path:
    """Return the file of the optimiser's state.

    Raises:
        ValueError: the checkpoint is of the time when every process had a file of its own.
    """
    path = folder / OPTIMIZER
    if not path.exists():
        raise ValueError(
            f"{folder}: expected {OPTIMIZER}, found none: an older version saved this run; finish it with "
            "that version, or export the model and start anew from it"
        )
    return path
