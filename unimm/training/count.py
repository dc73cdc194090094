"""Parameters and multiply-accumulates of networks, room by room, without making a number of them.

Networks are built and run on the meta device, so a size of ten billion takes seconds. Multiply-accumulates
are those of matrix products, convolutions and attention, for one picture and one evaluation; norms,
activations and gates are left out, as in published figures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Count:
    """What one room holds and costs."""

    parameters: int = 0
    tables: int = 0
    """Constants that published checkpoints store beside the parameters, and that published totals include:
    position tables and time frequencies. Rotary tables are in the checkpoints and not in the totals."""
    macs: int = 0
    """Multiply-accumulates for one picture."""

    def __add__(self, other: Count) -> Count:
        return Count(self.parameters + other.parameters, self.tables + other.tables, self.macs + other.macs)


Counts = dict[str, Count]
"""Counts by room."""

BODY_ROOMS = (
    ("time", r"time\b|frequencies"),
    ("labels", r"labels\b|null_condition"),
    ("text", r"(pooled|context)\b"),
    ("bridge", r"bridge\b"),
    ("head embedding", r"head_embed\b"),
    ("embedding", r"(embed|positions)\b"),
    ("final", r"final\b"),
    ("modulation", r"blocks\.\d+\..*\bmodulation\b"),
    ("mlp", r"blocks\.\d+\..*\bmlp"),
    ("attention", r"blocks\.\d+"),
)
"""Rooms of a DiT body: a path belongs to the first pattern it begins with."""


def count(module: nn.Module, forward: Callable[[], object], room_of: Callable[[str], str]) -> Counts:
    """Return the counts of every room of a module.

    Args:
        module: on the meta device.
        forward: runs the module once, on one picture.
        room_of: the room of a parameter or submodule, given its dotted path; "" is the module itself.
    """
    counts: dict[str, Count] = defaultdict(Count)
    for path, parameter in module.named_parameters():
        counts[room_of(path)] += Count(parameters=parameter.numel())
    kept = module.state_dict()
    for path, table in module.named_buffers():
        name = path.rpartition(".")[2]
        if name == "positions" or (name == "frequencies" and path in kept):
            counts[room_of(path)] += Count(tables=table.numel())
    for path, macs in own_macs(module, forward).items():
        counts[room_of(path)] += Count(macs=macs)
    return {room: found for room, found in counts.items() if found != Count()}


def own_macs(module: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Return {path: multiply-accumulates done in this submodule and in none of its own}; "" is the module."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        _Run(module, forward)()
    root = f"{_Run.__name__}.module"
    inside = {
        path.removeprefix(root).removeprefix("."): sum(by_kind.values()) // 2  # a multiply and an add each
        for path, by_kind in counter.get_flop_counts().items()
        if path.startswith(root)
    }
    inside[""] = counter.get_total_flops() // 2  # forward may call methods and parts of the module
    own = dict(inside)
    for path, macs in inside.items():
        if path:
            own[_parent(path, inside)] -= macs
    return own


class _Run(nn.Module):
    """A call with the module in it: the counter names what it sees from the outermost module called."""

    def __init__(self, module: nn.Module, run: Callable[[], object]):
        super().__init__()
        self.module, self.run = module, run

    def forward(self) -> object:
        return self.run()


def _parent(path: str, known: dict[str, int]) -> str:
    """Return the nearest module above that ran; a stream whose parts are called one by one did not."""
    path = path.rpartition(".")[0]
    while path not in known:
        path = path.rpartition(".")[0]
    return path


def body_room(num_base_blocks: int | None = None) -> Callable[[str], str]:
    """Return the room of a DiT body's path; blocks from num_base_blocks on are those of a head."""

    def room_of(path: str) -> str:
        room = next((room for room, pattern in BODY_ROOMS if re.match(pattern, path)), "other")
        block = re.match(r"blocks\.(\d+)", path)
        in_head = block is not None and num_base_blocks is not None and int(block[1]) >= num_base_blocks
        return f"head {room}" if in_head else room

    return room_of


def total(counts: Counts) -> Count:
    """Return the sum over all rooms."""
    return sum(counts.values(), Count())
