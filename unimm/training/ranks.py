"""The processes of a run: which device each has, how they meet."""

from __future__ import annotations

import datetime
import os
import socket
from typing import Any

import torch

from unimm.training.plain import chosen_device
from unimm.training.recipe import TrainRecipe


def local_device(recipe: TrainRecipe) -> torch.device:
    """Return this process's device: of a machine's GPUs the one that its launcher gave it."""
    device = chosen_device(recipe.device)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


def expect_engine(recipe: TrainRecipe) -> None:
    """Refuse several processes that know nothing of each other: each would write the same run.

    Raises:
        ValueError: a launcher started several, and the recipe has no engine for them.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and recipe.deepspeed is None:
        raise ValueError(
            f"deepspeed: expected a section for the {world} processes that were started (WORLD_SIZE), got "
            "none; add train.deepspeed.zero_stage=2, or start one process"
        )


def join(deepspeed: Any, recipe: TrainRecipe) -> tuple[int, int]:
    """Join the process group that a launcher describes, or a group of one; return (rank, world)."""
    device = local_device(recipe)
    if "RANK" not in os.environ:
        os.environ.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=_free_port()
        )
    if not torch.distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        timeout = datetime.timedelta(minutes=recipe.deepspeed.timeout_minutes)
        deepspeed.init_distributed(dist_backend=backend, timeout=timeout, verbose=False)
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
