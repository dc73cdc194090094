"""The engine of one process, on CPU or GPU. `engine.py` holds DeepSpeed's, with the same members."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from unimm.training import checkpoint
from unimm.training.ema import EMA
from unimm.training.optim import Optimizers, freeze_and_collect
from unimm.training.recipe import TrainRecipe
from unimm.training.stage import Stage, compile_modules


class PlainEngine:
    """Autocast, backward, clipped update, averages, and their part of a checkpoint, in one process."""

    rank, world = 0, 1

    def __init__(self, recipe: TrainRecipe, stage: Stage):
        self.device = chosen_device(recipe.device)
        self.stage = stage
        self.precision = recipe.precision
        self.accumulation = recipe.accumulation
        for module in stage.modules.values():
            module.to(self.device)
        self.members = freeze_and_collect(stage.modules, stage.groups)
        set_modes(stage)
        self.optimizers = Optimizers(self.members, recipe.optim)
        self.ema = EMA(self.members, recipe.ema_decay) if recipe.ema_decay is not None else None
        if recipe.compile:
            compile_modules(stage)

    def losses(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        with autocast(self.precision, self.device):
            return self.stage.step(batch, generator)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's share of the update."""
        (loss / self.accumulation).backward()

    def step(self, factor: float) -> Tensor:
        """Update with `factor` of the peak learning rate; return the gradient's norm before clipping."""
        norm = self.optimizers.step(factor)
        if self.ema is not None:
            self.ema.update()
        return norm

    def averaged(self):
        """Inside, the stage's modules hold the averages, where they are kept."""
        return self.ema.swapped() if self.ema is not None else nullcontext()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write weights, averages and optimiser state; return what `load` needs besides."""
        checkpoint.save_weights(checkpoint.unique_state(self.stage.modules), folder / "weights.safetensors")
        checkpoint.save_tensors(self.optimizers.state_dict(), folder / "optimizer.pt")
        if self.ema is None:
            return {}
        checkpoint.save_weights(self.ema.state_dict(), folder / "ema.safetensors")
        return {"num_ema_updates": self.ema.num_updates}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        checkpoint.load_weights(self.stage.modules, folder / "weights.safetensors")
        saved = torch.load(folder / "optimizer.pt", map_location=self.device, weights_only=True)
        self.optimizers.load_state_dict(saved)
        if self.ema is None:
            return
        path = folder / "ema.safetensors"
        if not path.exists():
            raise ValueError(
                f"ema_decay: {folder} was saved without averages; leave ema_decay null or start anew"
            )
        self.ema.load_state_dict(load_file(path, device=str(self.device)), state["num_ema_updates"])

    def write_checkpoint(self, run: Path, step: int, state: dict[str, Any], keep_last: int) -> None:
        def fill(folder: Path) -> None:
            checkpoint.write_state(folder, {**state, **self.save(folder)})

        checkpoint.write(run, step, fill, keep_last)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over ranks."""
        return values

    def agree(self, flag: bool) -> bool:
        """True on every rank where any rank says so."""
        return flag

    def close(self) -> None:
        """Nothing to tear down."""


def chosen_device(name: str) -> torch.device:
    """The device of a recipe.

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
