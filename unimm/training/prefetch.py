"""Batches prepared ahead of the loop, in order, by threads. What they hold depends on positions only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def prefetch(make: Callable[[K], V], keys: Iterable[K], ahead: int, workers: int = 1) -> Iterator[V]:
    """Yield `make(key)` for each key, in order, up to `ahead` under way; errors in their place."""
    if ahead == 0:
        yield from map(make, keys)
        return
    keys = iter(keys)
    executor = ThreadPoolExecutor(workers, thread_name_prefix="batch")
    try:
        waiting = deque()
        for key in keys:
            waiting.append(executor.submit(make, key))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
