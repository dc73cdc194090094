"""Counts how often something is copied to another device or dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Counter(TorchDispatchMode):
    """Counts tables that move or change their type."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default and args[0].numel() >= 1000
        return func(*args, **(kwargs or {}))


def copies(work: Callable[[], Any]) -> int:
    """Return how many tensors of 1000 numbers or more `work` copies to another device or dtype."""
    with _Counter() as counter:
        work()
    return counter.count
