"""The most bytes that tensors held while something ran, counted as they come and go; on any device."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Peak(TorchDispatchMode):
    """Within it, `most` is the largest sum of bytes of the tensors that were made within it.

    What was there before does not count, nor what a kernel takes for itself. Every operation passes through
    Python, so nothing that is timed runs within it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {id(storage) for storage in _storages((args, kwargs))}
        for storage in _storages(out):
            if id(storage) not in given and storage not in self._known:
                self._enter(storage)
        return out

    def _enter(self, storage: Any) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        weakref.finalize(storage, self._leave, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _leave(self, size: int) -> None:
        self.now -= size


def _storages(tree: Any) -> Iterable[Any]:
    return (leaf.untyped_storage() for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
