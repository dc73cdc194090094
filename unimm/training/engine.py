"""The engine of many processes: DeepSpeed's ZeRO, stages 0 to 3, on GPUs or CPUs. The one door to deepspeed.

Start it with `torchrun --nproc-per-node N -m train.joint ...`. Parameters are float32, computing is autocast,
as in one process; so N ranks give the losses of one process with N times the accumulation. Every rank must
run every trainable module in every step: under stage 3 a rank that skips one waits forever.
"""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from unimm.training import checkpoint
from unimm.training.ema import EMA
from unimm.training.optim import freeze_and_collect, parameter_groups, set_lr
from unimm.training.plain import autocast, chosen_device, set_modes
from unimm.training.recipe import TrainRecipe
from unimm.training.stage import Stage, compile_modules

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)  # a rank that died is noticed after this


def deepspeed_config(recipe: TrainRecipe, world: int) -> dict[str, Any]:
    """DeepSpeed's JSON for a recipe and a number of ranks. It is derived here and written nowhere."""
    return {
        "train_batch_size": recipe.batch_size,
        "train_micro_batch_size_per_gpu": recipe.batch_size // (world * recipe.accumulation),
        "gradient_accumulation_steps": recipe.accumulation,
        "gradient_clipping": recipe.optim.clip or 0.0,
        "zero_optimization": {"stage": recipe.deepspeed.zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's fused AdamW; DeepSpeed's own would be compiled here
        "steps_per_print": 2**31,
    }


class DeepSpeedEngine:
    """The members of `PlainEngine`, over DeepSpeed."""

    def __init__(self, recipe: TrainRecipe, stage: Stage):
        self.device = _local_device(recipe)
        deepspeed = _import_deepspeed(self.device)
        self.rank, self.world = _join_ranks(deepspeed, self.device)
        self.deepspeed, self.recipe, self.stage = deepspeed, recipe, stage
        self.zero_stage, self.accumulation = recipe.deepspeed.zero_stage, recipe.accumulation
        for module in stage.modules.values():
            module.to(self.device)
        self.members = freeze_and_collect(stage.modules, stage.groups)
        if any(member.is_muon for member in self.members):
            raise ValueError(
                "groups: expected optimizer adamw under deepspeed, got muon, which needs whole matrices"
            )
        set_modes(stage)
        if recipe.compile:
            compile_modules(stage)
        self.ema = EMA(self.members, recipe.ema_decay) if recipe.ema_decay is not None else None
        self.names = list(checkpoint.unique_state(stage.modules))
        self._micro, self._engine = 0, None

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Load a checkpoint of the same ranks and ZeRO stage; before the first step.

        Raises:
            ValueError: the checkpoint was written by other ranks or another stage.
        """
        saved, here = state.get("engine"), self._signature()
        if saved != here:
            raise ValueError(
                f"{folder}: expected a checkpoint of {here}, got one of {saved}; resume with the same"
            )
        assert self._engine is None, "weights are loaded while they are whole"
        checkpoint.load_weights(self.stage.modules, folder / "weights.safetensors")
        if self.ema is not None:
            self.ema.load_state_dict(load_file(folder / "ema.safetensors"), state["num_ema_updates"])
        path = folder / self._optimizer_file()
        self._load_optimizer_state(torch.load(path, map_location=self.device, weights_only=True))

    def losses(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        return self._started()(batch, generator)

    def backward(self, loss: Tensor) -> None:
        engine = self._started()
        engine.backward(loss)  # divides by the accumulation itself
        self._micro += 1
        if self._micro < self.accumulation:
            engine.step()  # counts the micro-batch, updates nothing

    def step(self, factor: float) -> Tensor:
        engine = self._started()
        set_lr(self._inner_optimizer(), self.recipe.optim.lr, factor)
        norm = self._whole_norm() if self.zero_stage == 0 else None  # stage 0 keeps none
        engine.step()
        self._micro = 0
        if self.ema is not None:
            self.ema.update()
        return torch.as_tensor(engine.get_global_grad_norm() if norm is None else norm, dtype=torch.float32)

    def _whole_norm(self) -> Tensor:
        gradients = [m.parameter.grad for m in self.members if m.parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def averaged(self):
        return self.ema.swapped() if self.ema is not None else nullcontext()

    def write_checkpoint(self, run: Path, step: int, state: dict[str, Any], keep_last: int) -> None:
        """Write whole weights once and each rank its optimiser state, into a folder all ranks see."""
        weights = self.gathered_state()
        partial = run / "checkpoints" / f"{checkpoint.PARTIAL}{step:08d}"
        is_first = self.rank == 0

        def fill() -> None:
            checkpoint.save_tensors(self._optimizer_state(), partial / self._optimizer_file())
            if not is_first:
                return
            extra = {"engine": self._signature()}
            checkpoint.save_weights(weights, partial / "weights.safetensors")
            if self.ema is not None:
                checkpoint.save_weights(self.ema.state_dict(), partial / "ema.safetensors")
                extra["num_ema_updates"] = self.ema.num_updates
            checkpoint.write_state(partial, {**state, **extra})

        def report(error: OSError) -> OSError:
            return OSError(checkpoint.refusal(run, step, error))

        try:
            self._together(lambda: is_first and checkpoint.begin(run, step), report)
            self._together(fill, report)
            self._together(lambda: is_first and checkpoint.commit(partial, keep_last), report)
        except OSError:
            if is_first:
                checkpoint.abandon(partial)
            raise

    def gathered_state(self) -> dict[str, Tensor]:
        """Whole weights by name on rank 0, {} elsewhere; every rank must call it."""
        tensors = {}
        for module_name, module in self.stage.modules.items():
            for kind in (module.named_parameters, module.named_buffers):
                tensors.update({f"{module_name}.{path}": t for path, t in kind(remove_duplicate=False)})
        whole = {}
        for name in self.names:
            with self.deepspeed.zero.GatheredParameters([tensors[name]], enabled=self.zero_stage == 3):
                if self.rank == 0:
                    whole[name] = tensors[name].detach().cpu().clone()
        return whole

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

    def close(self) -> None:
        if self._engine is not None:
            self._engine.destroy()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _started(self):
        """DeepSpeed's engine, made at first use, after `load`: it may take the parameters apart."""
        if self._engine is None:
            optim = self.recipe.optim
            adamw = torch.optim.AdamW(
                parameter_groups(self.members, optim),
                lr=optim.lr,
                betas=optim.betas,
                eps=optim.eps,
                fused=True,
            )
            whole = _Whole(self.stage, self.recipe.precision, self.device, cache=self.zero_stage < 3)
            self._engine, *_ = self.deepspeed.initialize(
                model=whole, optimizer=adamw, config=deepspeed_config(self.recipe, self.world)
            )
        return self._engine

    def _inner_optimizer(self) -> torch.optim.Optimizer:
        """Torch's AdamW under DeepSpeed's wrapper."""
        outer = self._started().optimizer
        return getattr(outer, "optimizer", outer)

    def _pieces(self) -> list[Tensor]:
        """What AdamW updates on this rank: flat pieces under ZeRO, else the parameters."""
        outer = self._started().optimizer
        if self.zero_stage == 0:
            return [member.parameter for member in self.members]
        return (
            outer.fp32_partitioned_groups_flat
            if self.zero_stage == 3
            else outer.single_partition_of_fp32_groups
        )

    def _optimizer_state(self) -> list[dict[str, Tensor]]:
        """AdamW's state of each piece: plain tensors, so that it is read back with `weights_only`.

        The pieces themselves are the weights: float32 and saved whole.
        """
        state = self._inner_optimizer().state
        return [dict(state[piece]) for piece in self._pieces()]

    def _load_optimizer_state(self, saved: list[dict[str, Tensor]]) -> None:
        pieces, inner = self._pieces(), self._inner_optimizer()
        sizes, found = [p.numel() for p in pieces], [s["exp_avg"].numel() for s in saved]
        if sizes != found:
            raise ValueError(f"optimizer state: expected pieces of {sizes} numbers, got {found}")
        for piece, values in zip(pieces, saved, strict=True):
            inner.state[piece] = values

    def _optimizer_file(self) -> str:
        return f"optimizer-rank-{self.rank:05d}.pt"

    def _signature(self) -> dict[str, int]:
        return {"ranks": self.world, "zero_stage": self.zero_stage}

    def _together(self, act: Callable[[], Any], report: Callable[[OSError], OSError]) -> None:
        """Act on every rank, and fail on every rank where one fails: nobody is left waiting."""
        failure: OSError | None = None
        try:
            act()
        except OSError as error:
            failure = error
        if self.agree(failure is not None):
            raise report(failure or OSError("another rank failed")) from failure


class _Whole(nn.Module):
    """A stage as the one module DeepSpeed wants: its forward is the stage's step."""

    def __init__(self, stage: Stage, precision: str, device: torch.device, cache: bool):
        super().__init__()
        self.parts = nn.ModuleDict(stage.modules)
        self._run = (stage, precision, device, cache)  # a tuple, so that the stage is no submodule

    def forward(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        stage, precision, device, cache = self._run
        # The cache of casts would keep every gathered weight alive until the end of the forward.
        with autocast(precision, device, cache):
            return stage.step(batch, generator)


def _local_device(recipe: TrainRecipe) -> torch.device:
    device = chosen_device(recipe.device)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


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
    return deepspeed


def _join_ranks(deepspeed, device: torch.device) -> tuple[int, int]:
    """Join the process group that torchrun describes, or a group of one; return (rank, world)."""
    if "RANK" not in os.environ:
        os.environ.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=_free_port()
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, timeout=COLLECTIVE_TIMEOUT, verbose=False)
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
