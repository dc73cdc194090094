"""How much memory what lives for a moment may take: it bounds passes and changes no result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

CPU_BYTES = 1 << 30
"""On a CPU, whose caches would not hold more in any case."""
FREE_SHARE = 0.5
"""Of an accelerator's free memory: attention kernels have workspaces, and what is kept wants room as well."""


_ALIKE: ContextVar[bool] = ContextVar("passes_alike", default=False)


@contextmanager
def passes_alike() -> Iterator[None]:
    """Inside, a pass may take as much as on a CPU, whatever a device has free.

    Ranks that hold a model in pieces put it together for every pass, so all must make as many: where one has
    less memory left and makes one more, it waits for the others forever.
    """
    token = _ALIKE.set(True)
    try:
        yield
    finally:
        _ALIKE.reset(token)


def spare_bytes(device: torch.device) -> int:
    """Return how many bytes a pass may take on a device now."""
    if device.type != "cuda" or _ALIKE.get():
        return CPU_BYTES
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(FREE_SHARE * (torch.cuda.mem_get_info(device)[0] + unused))


def that_fit(num_bytes: int, bytes_each: int) -> int:
    """Return how many things of a size fit, at least one: one at a time is the least that can be done."""
    return max(1, num_bytes // bytes_each)


def row_bytes(llm: Any, length: int, itemsize: int, kept: bool = True) -> int:
    """Return what the LLM takes to read one row of so many positions, at its fullest moment.

    That is the embeddings, the residual before and after and its norm, and the hidden units of one MLP, or
    the queries with the keys and values of one layer, joined and repeated for every head; and the keys and
    values of all layers with the mask, if they are kept.

    Args:
        llm: its sizes, an `LLMConfig`.
        length: positions.
        itemsize: bytes of a number.
        kept: whether the row goes on afterwards.
    """
    narrow = llm.width * llm.key_value_heads // llm.heads
    layer = 4 * llm.width + max(4 * llm.width + 2 * narrow, 3 * llm.mlp_width)
    cached, mask = (2 * llm.depth * narrow, length) if kept else (0, 0)
    return length * ((cached + layer) * itemsize + mask)
