"""The engine of one process, on CPU or GPU. `engine.py` holds DeepSpeed's, with the same members."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from unimm.training import checkpoint, saving
from unimm.training.ema import EMA, SCHEDULES
from unimm.training.finite import watching
from unimm.training.optim import Member, Optimizers, freeze_and_collect
from unimm.training.pieces import PieceFile, fill_pieces, whole
from unimm.training.recipe import TrainRecipe
from unimm.training.sharding import as_whole, own_piece, unique_tensors
from unimm.training.stage import Stage, compile_modules, saved_modules


class PlainEngine:
    """Autocast, backward, clipped update, averages, and their part of a checkpoint, in one process."""

    rank, world = 0, 1
    draws_together = False  # pictures midway need one process

    def __init__(self, recipe: TrainRecipe, stage: Stage):
        self.device = chosen_device(recipe.device)
        self.recipe, self.stage = recipe, stage
        for module in stage.modules.values():
            module.to(self.device)
        self.members = freeze_and_collect(stage.modules, stage.groups)
        set_modes(stage)
        self.optimizers = Optimizers(self.members, recipe.optim)
        self.ema = average_of(self.members, recipe)
        if recipe.compile:
            compile_modules(stage)

    def losses(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        with autocast(self.recipe.precision, self.device), watching(self.recipe.nonfinite):
            return self.stage.step(batch, generator)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's share of the update."""
        (loss / self.recipe.accumulation).backward()

    def step(self, factor: float, refused: bool = False) -> Tensor | None:
        """Update with `factor` of the peak learning rate; return the gradient's norm before clipping.

        Return None, and change nothing, if the update was `refused` for its losses, or where the recipe skips
        what is not finite and the norm is not.
        """
        norm = self.optimizers.clip()
        if self.recipe.nonfinite == "skip" and (refused or not math.isfinite(norm)):
            self.optimizers.clear()
            return None
        self.optimizers.update(factor)
        if self.ema is not None:
            self.ema.update()
        return norm

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the stage's modules hold the averages, where they are kept."""
        return self.ema.swapped() if self.ema is not None else nullcontext()

    def contents(self) -> dict[str, saving.Content]:
        """Return what belongs into the files of a checkpoint."""
        state = self.optimizers.state()
        found = {
            saving.WEIGHTS: content_of_weights(self.stage),
            saving.OPTIMIZER: saving.Content(state, [whole(name, x) for name, x in state.items()]),
        }
        if self.ema is not None:
            found[saving.AVERAGES] = saving.Content(self.ema.tensors(), self.ema.pieces())
        return found

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint says of the averages."""
        return {} if self.ema is None else {"num_ema_updates": self.ema.num_updates}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, whatever engine wrote it."""
        load_weights(self.stage, folder / saving.WEIGHTS)
        self.optimizers.load_state(load_file(saving.expect_optimizer(folder)))
        load_averages(self.ema, folder, state)

    def write_checkpoint(self, run: Path, step: int, state: dict[str, Any], keep: checkpoint.Keep) -> None:
        saving.save(self, run, step, state, keep)

    def together(self, act: Callable[[], Any], report: Callable[[OSError], OSError]) -> None:
        """Act, and report what goes wrong."""
        try:
            act()
        except OSError as error:
            raise report(error) from error

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean over ranks."""
        return values

    def agree(self, flag: bool) -> bool:
        """Return True on every rank where any rank says so."""
        return flag

    def finish(self) -> None:
        """Nobody to wait for."""

    def explain(self, error: Exception) -> None:
        """Nothing to add: there are no others."""

    def close(self) -> None:
        """Nothing to tear down."""


def average_of(members: list[Member], recipe: TrainRecipe) -> EMA | None:
    """Return the averages that a recipe asks for."""
    if recipe.ema_decay is None:
        return None
    return EMA(members, recipe.ema_decay, SCHEDULES[recipe.ema_schedule])


def content_of_weights(stage: Stage) -> saving.Content:
    """Return the weights of a stage that belong into checkpoints, and what this process holds of them."""
    live = unique_tensors(saved_modules(stage))
    shapes = {name: as_whole(x) for name, x in live.items()}
    return saving.Content(shapes, [own_piece(name, x) for name, x in live.items()])


def load_weights(stage: Stage, path: Path) -> None:
    """Copy what this process holds of a stage's weights from a file; strictly.

    Raises:
        ValueError: names or shapes differ; nothing is copied then.
    """
    stored, content = PieceFile(path), content_of_weights(stage)
    saving.check_shapes(path, content.tensors, stored.tensors)
    fill_pieces(content.pieces, stored.read)


def load_averages(ema: EMA | None, folder: Path, state: dict[str, Any]) -> None:
    """Copy what this process holds of the averages from a checkpoint.

    Raises:
        ValueError: it has none, or those of other parameters.
    """
    if ema is None:
        return
    path = folder / saving.AVERAGES
    if not path.exists():
        raise ValueError(
            f"ema_decay: {folder} was saved without averages; leave ema_decay null or start anew"
        )
    stored = PieceFile(path)
    saving.check_shapes(path, ema.tensors(), stored.tensors)
    fill_pieces(ema.pieces(), stored.read)
    ema.num_updates = state["num_ema_updates"]


def chosen_device(name: str) -> torch.device:
    """Return the device of a recipe.

    Raises:
        ValueError: cuda was asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device: expected a CUDA device, this torch finds none; use device=cpu or device=auto"
        )
    return torch.device(name)


def autocast(precision: str, device: torch.device, cache: bool = True):
    """bf16 autocast over float32 parameters, or nothing."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=cache)


def set_modes(stage: Stage) -> None:
    """Train mode for what trains; eval mode for modules that are wholly frozen."""
    for module in stage.modules.values():
        module.train(any(p.requires_grad for p in module.parameters()))
