"""What the loop asks of a stage. A stage is any object with these members; it inherits nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unimm.training.recipe import Group


class Stage(Protocol):
    """One stage of training: what it trains, on what, and by which losses.

    More members are used when they are there: `sample(folder: Path, step: int)` writes pictures (called with
    averaged weights, in eval mode, without gradients; under ZeRO-3 on every rank, which must all draw the
    same); `compile()` replaces compiling the forward of every module; `after_update(seen) -> losses` is
    called after every update that was done, with its micro-batches as (batch, generator): there trains what
    trains on its own and against the rest, such as a discriminator, its optimiser's state in a module of the
    stage; `counts()` returns numbers by name that only grow, such as broken samples, for the metrics;
    `amounts(batch)` and `flops(batch)` say how much a batch is (see `meter`); `describe(run: Path)` writes
    beside the checkpoints, before the first step, what a model is made of them with; `export(checkpoint,
    folder)` makes it.

    A class whose static `built_in_pieces(recipe)` says True is built under ZeRO-3 without any rank ever
    holding its modules whole: it fills them by `sharding.fill` or `opening.open_model` alone, and what it
    runs of them before training stands inside `sharding.gathered`.
    `unsaved` names modules that checkpoints leave out, because every start makes them alike.
    """

    modules: Mapping[str, nn.Module]  # saved in checkpoints under these names, the frozen ones too
    groups: Mapping[str, Group]  # who trains and how; see `optim.freeze_and_collect`

    def batch(self, start: int, count: int) -> Any:
        """Samples start ... start + count - 1 of an endless stream; a pure function, called from a thread.

        Returns tensors in dicts, lists and tuples, or a record with `.to(device)`.
        """

    def step(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalar losses, means over the batch; "loss" is the one minimised. Draws come from `generator` only.

        Called under autocast where the recipe says bf16. The generator is a function of (seed, start) alone,
        so a batch draws the same noise on whatever rank and after whatever resume.
        """


def sample_hook(stage: Stage):
    """The stage's `sample`, or None."""
    return getattr(stage, "sample", None)


def update_hook(stage: Stage):
    """The stage's `after_update`, or None."""
    return getattr(stage, "after_update", None)


def describe_hook(stage: Stage) -> Callable[[Path], None]:
    """The stage's `describe`, or nothing."""
    return getattr(stage, "describe", lambda run: None)


def counts_hook(stage: Stage) -> Callable[[], Mapping[str, float]]:
    """The stage's `counts`, or one of nothing."""
    return getattr(stage, "counts", dict)


def saved_modules(stage: Stage) -> Mapping[str, nn.Module]:
    """The modules that belong into checkpoints."""
    unsaved = getattr(stage, "unsaved", ())
    return {name: module for name, module in stage.modules.items() if name not in unsaved}


def compile_modules(stage: Stage) -> None:
    """Let the stage compile itself, or compile each module's forward in place; names of weights stay."""
    if hasattr(stage, "compile"):
        stage.compile()
        return
    for module in stage.modules.values():
        module.compile()


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor on the device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def samples_folder(run: Path) -> Path:
    folder = run / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
