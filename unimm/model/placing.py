"""Where a room computes: rooms may lie on different devices, or wait on the CPU between calls."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn


def device_of(room: nn.Module) -> torch.device:
    """Return the device that a room computes on.

    `device_map` and CPU offload give rooms, or what is in them, hooks that say so: while a room waits, its
    parameters may be on the meta device. Without any it is the device of its first parameter or buffer.
    """
    for part in room.modules():
        placed = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if placed is not None:
            return torch.device(placed)
    return next(chain(room.parameters(), room.buffers())).device


def undivided(model: nn.Module) -> set[str]:
    """Return the names of the classes of all blocks: what stands in a list and has parts of its own.

    A block adds what its parts compute to what it was given, so all of it must lie on one device.
    """
    lists = (part for part in model.modules() if isinstance(part, nn.ModuleList))
    return {type(block).__name__ for blocks in lists for block in blocks if any(block.children())}
