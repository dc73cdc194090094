"""Bytes that training keeps from step to step, on one rank, by what ZeRO divides (arXiv 1910.02054)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from unimm.training.optim import Member
from unimm.training.recipe import TrainRecipe

FLOAT32 = 4
ADAM_MOMENTS = 2


@dataclass(frozen=True)
class Kept:
    """Bytes on one rank: by name on the device, and on the host."""

    device: dict[str, int]
    host: dict[str, int]


def kept(modules: Sequence[nn.Module], members: Sequence[Member], recipe: TrainRecipe, world: int) -> Kept:
    """Return what one of `world` ranks keeps; parameters are float32, as the engines have them, but for
    frozen ones of fewer bits.

    One process, and ZeRO 0, keep everything: weights, gradients, AdamW's two moments (Muon's one). ZeRO 1
    divides the moments and adds its own float32 copy of what it updates, divided too; 2 divides the gradients
    as well, 3 the weights, frozen ones included. Offloading moves what it names to the host.
    """
    stage = recipe.deepspeed.zero_stage if recipe.deepspeed is not None else 0
    trained = sum(member.parameter.numel() for member in members)
    muon = sum(member.parameter.numel() for member in members if member.is_muon)
    every = {id(p): p for module in modules for p in module.parameters()}
    frozen = sum(p.nbytes for p in every.values()) - FLOAT32 * trained
    tables = sum(b.nbytes for module in modules for b in module.buffers())
    part = _part(world)
    weights = part(FLOAT32 * trained, stage >= 3)
    still = part(frozen, stage >= 3)
    moments = part(FLOAT32 * (ADAM_MOMENTS * trained - muon), stage >= 1)
    copy = part(FLOAT32 * trained, True) if stage >= 1 else 0
    device = {
        "weights": weights + still + tables,
        "gradients": part(FLOAT32 * trained, stage >= 2),
        "optimiser": moments + copy,
    }
    host: dict[str, int] = {}
    if recipe.deepspeed is not None and recipe.deepspeed.offload_optimizer:
        host["optimiser"] = device.pop("optimiser")
        host["gradients"] = part(FLOAT32 * trained, True)
    if recipe.deepspeed is not None and recipe.deepspeed.offload_parameters:
        host["weights"] = weights + still
        device["weights"] = tables
    if recipe.ema_decay is not None:
        device["average"] = part(FLOAT32 * trained, stage >= 3)
    return Kept(device, host)


def largest_gathered(modules: Sequence[nn.Module]) -> int:
    """Return bytes of the parameters of the largest module that owns some: what ZeRO 3 puts together at once.

    DeepSpeed also fetches ahead; twice this stands for both.
    """
    owned = [
        sum(p.nbytes for p in module.parameters(recurse=False))
        for root in modules
        for module in root.modules()
    ]
    return 2 * max(owned)


def _part(world: int):
    def part(size: int, divided: bool) -> int:
        return -(-size // world) if divided else size

    return part
