"""The engine of many processes: DeepSpeed's ZeRO, stages 0 to 3, on GPUs or CPUs. The one door to deepspeed.

Start it with `torchrun --nproc-per-node N -m train.joint ...`, or with `deepspeed`. Parameters are float32,
computing is autocast, as in one process; so N ranks give the losses of one process with N times the
accumulation. Every rank must run every trainable module in every step: under stage 3 a rank that skips one
waits forever.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unimm.training import checkpoint, saving
from unimm.training.finite import watching
from unimm.training.optim import (
    check_states,
    freeze_and_collect,
    parameter_groups,
    refuse_muon,
    set_lr,
    state_kinds,
)
from unimm.training.pieces import PieceFile
from unimm.training.plain import (
    autocast,
    average_of,
    content_of_weights,
    load_averages,
    load_weights,
    set_modes,
)
from unimm.training.ranks import join, local_device
from unimm.training.recipe import TrainRecipe
from unimm.training.sharding import whole_while_changed
from unimm.training.stage import Stage, compile_modules
from unimm.training.watch import watch_over
from unimm.training.zero import ZeroState


def deepspeed_config(recipe: TrainRecipe, world: int) -> dict[str, Any]:
    """Return DeepSpeed's JSON for a recipe and a number of ranks. It is derived here and written nowhere."""
    settings = recipe.deepspeed
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload_parameters:
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_batch_size": recipe.batch_size,
        "train_micro_batch_size_per_gpu": recipe.micro_batch(world),
        "gradient_accumulation_steps": recipe.accumulation,
        "gradient_clipping": recipe.optim.clip or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # torch's fused AdamW; DeepSpeed's own would be compiled here
        "zero_force_ds_cpu_optimizer": False,  # on the host, too
        "steps_per_print": 2**31,
    }


@contextmanager
def building(recipe: TrainRecipe) -> Iterator[None]:
    """Inside, modules are taken apart as they are made (`zero.Init`): no rank ever holds a whole model.

    What a module's constructor draws is what it draws anyway, so fresh weights are those of one process. What
    changes weights afterwards must go through `torch.nn.init`, an in-place method, or `sharding.fill`; what
    runs a module, through `sharding.gathered`.
    """
    deepspeed = _import_deepspeed(local_device(recipe))
    _, world = join(deepspeed, recipe)

    class Init(deepspeed.zero.Init):
        def _post_init_method(self, module: nn.Module) -> None:
            if not any(p.is_meta for p in module.parameters(recurse=False)):  # a shell, filled by its maker
                super()._post_init_method(module)

    # Tensors are made where they would be anyway: on the CPU, with the CPU's draws.
    settings = deepspeed_config(recipe, world)
    with Init(config_dict_or_path=settings, tensor_overrides=set()), whole_while_changed():
        yield


class DeepSpeedEngine:
    """The members of `PlainEngine`, over DeepSpeed."""

    def __init__(self, recipe: TrainRecipe, stage: Stage):
        self.device = local_device(recipe)
        self.deepspeed = _import_deepspeed(self.device)
        self.rank, self.world = join(self.deepspeed, recipe)
        self.watch = watch_over(60 * recipe.deepspeed.timeout_minutes)
        self.recipe, self.stage, self.zero_stage = recipe, stage, recipe.deepspeed.zero_stage
        for module in stage.modules.values():
            module.to(self.device)
        self.members = freeze_and_collect(stage.modules, stage.groups)
        refuse_muon(self.members)
        set_modes(stage)
        if recipe.compile:
            compile_modules(stage)
        self.draws_together = self.zero_stage == 3  # no rank has the weights that a picture needs
        self._micro, self._engine, self.ema = 0, None, None

    def losses(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        return self._started()(batch, generator)

    def backward(self, loss: Tensor) -> None:
        engine = self._started()
        engine.backward(loss)  # divides by the accumulation itself
        self._micro += 1
        if self._micro < self.recipe.accumulation:
            engine.step()  # counts the micro-batch, updates nothing

    def step(self, factor: float, refused: bool = False) -> Tensor | None:
        engine = self._started()
        skipped = self.recipe.nonfinite == "skip" and self.agree(refused or not self.zero.gradients_finite())
        self._optimizer.skipped = skipped
        set_lr(self._optimizer, self.recipe.optim.lr, factor)
        norm = self._whole_norm() if self.zero_stage == 0 else None  # stage 0 keeps none
        engine.step()
        self._micro = 0
        if self.watch is not None:
            self.watch.step += 1
        if skipped:
            return None
        if self.ema is not None:
            self.ema.update()
        return torch.as_tensor(engine.get_global_grad_norm() if norm is None else norm, dtype=torch.float32)

    def _whole_norm(self) -> Tensor:
        gradients = [m.parameter.grad for m in self.members if m.parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the stage's modules hold the averages; every rank must come here."""
        self._started()
        if self.ema is None:
            yield
            return
        with self.ema.swapped():
            self.zero.regather()
            yield
        self.zero.regather()

    def contents(self) -> dict[str, saving.Content]:
        self._started()
        found = {
            saving.WEIGHTS: content_of_weights(self.stage),
            saving.OPTIMIZER: saving.Content(self.zero.tensors(), self.zero.pieces()),
        }
        if self.ema is not None:
            found[saving.AVERAGES] = saving.Content(self.ema.tensors(), self.ema.pieces())
        return found

    def facts(self) -> dict[str, Any]:
        return {} if self.ema is None else {"num_ema_updates": self.ema.num_updates}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, whatever engine wrote it, on however many ranks; before the first step."""
        assert self._engine is None, "DeepSpeed copies the weights when it starts"
        load_weights(self.stage, folder / saving.WEIGHTS)
        stored = PieceFile(saving.expect_optimizer(folder))
        check_states(stored.tensors, {member.name: state_kinds(member) for member in self.members})
        self._started()
        load_averages(self.ema, folder, state)
        self.zero.load(stored)

    def write_checkpoint(self, run: Path, step: int, state: dict[str, Any], keep: checkpoint.Keep) -> None:
        """Write a checkpoint into a folder that all ranks see."""
        saving.save(self, run, step, state, keep)

    def together(self, act: Callable[[], Any], report: Callable[[OSError], OSError]) -> None:
        """Act on every rank, and fail on every rank where one fails: nobody is left waiting."""
        failure: OSError | None = None
        try:
            act()
        except OSError as error:
            failure = error
        if self.agree(failure is not None):
            raise report(failure or OSError("another rank failed")) from failure

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        if not values:
            return values
        tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world).tolist(), strict=True))

    def agree(self, flag: bool) -> bool:
        tensor = torch.tensor(int(flag), device=self.device)
        torch.distributed.all_reduce(tensor)
        return bool(tensor.item())

    def finish(self) -> None:
        """Wait for all ranks at the end: who leaves first may take down what the others still use."""
        torch.distributed.barrier()

    def explain(self, error: Exception) -> None:
        """Tell the other ranks of an error; or say in it who failed before, or is furthest behind."""
        if self.watch is not None:
            self.watch.explain(error)

    def close(self) -> None:
        if self.watch is not None:
            self.watch.close()
        if self._engine is not None:
            self._engine.destroy()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _started(self):
        """DeepSpeed's engine, made at first use, after the weights were loaded: it takes them apart."""
        if self._engine is None:
            optim = self.recipe.optim
            groups = parameter_groups(self.members, optim)
            self._optimizer = _AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)
            whole = _Whole(self.stage, self.recipe, self.device)
            self._engine, *_ = self.deepspeed.initialize(
                model=whole, optimizer=self._optimizer, config=deepspeed_config(self.recipe, self.world)
            )
            self.zero = ZeroState(self._engine.optimizer, self._optimizer, self.members, self.zero_stage)
            self.ema = average_of(self.members, self.recipe)
        return self._engine


class _AdamW(torch.optim.AdamW):
    """AdamW that an engine can tell to leave everything as it is, while the rest of its step runs."""

    skipped = False

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return None if self.skipped else super().step(closure)


class _Whole(nn.Module):
    """A stage as the one module DeepSpeed wants: its forward is the stage's step."""

    def __init__(self, stage: Stage, recipe: TrainRecipe, device: torch.device):
        super().__init__()
        self.parts = nn.ModuleDict(stage.modules)
        self._run = (stage, recipe, device)  # a tuple, so that the stage is no submodule

    def forward(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        stage, recipe, device = self._run
        # The cache of casts would keep every gathered weight alive until the end of the forward.
        cache = recipe.deepspeed.zero_stage < 3
        with autocast(recipe.precision, device, cache), watching(recipe.nonfinite):
            return stage.step(batch, generator)


def _import_deepspeed(device: torch.device):
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    try:
        import deepspeed
    except ImportError:
        raise ValueError(
            "deepspeed: not installed; pip install 'unimm[train]', or leave deepspeed out"
        ) from None
    # On CPUs DeepSpeed would first compile a shared-memory operator: two minutes, and a process killed
    # meanwhile leaves a lock that stops every later run. Declared incompatible, it is not built; gloo does
    # the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Torch renames what DeepSpeed calls at every step; nothing that a user could do about it.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    return deepspeed
