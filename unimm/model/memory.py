"""How much memory what lives for a moment may take: it bounds passes and changes no result."""

from __future__ import annotations

import torch

CPU_BYTES = 1 << 30
"""On a CPU, whose caches would not hold more in any case."""
FREE_SHARE = 0.5
"""Of an accelerator's free memory: attention kernels have workspaces, and what is kept wants room as well."""


def spare_bytes(device: torch.device) -> int:
    """Return how many bytes a pass may take on a device now."""
    if device.type != "cuda":
        return CPU_BYTES
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(FREE_SHARE * (torch.cuda.mem_get_info(device)[0] + unused))


def that_fit(num_bytes: int, bytes_each: int) -> int:
    """Return how many things of a size fit, at least one: one at a time is the least that can be done."""
    return max(1, num_bytes // bytes_each)
