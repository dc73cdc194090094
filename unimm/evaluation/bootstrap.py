"""Means with 95 % intervals, by resampling what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 10_000  # an end of the interval then moves by about 0.02 of its width from seed to seed
_BLOCK = 500  # resamples at a time; bounds memory


@dataclass(frozen=True)
class Leaf:
    """A mean of n measurements and its 95 % interval, in the measurements' own unit."""

    mean: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int]:
        """Return {"mean", "low", "high", "n"}."""
        return asdict(self)


def interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> Leaf:
    """Return the mean of independent measurements and its percentile-bootstrap interval.

    Measurements that are all alike give an interval of no width: they do not tell what else might have been.

    Args:
        values: [n] numbers or truth values.
        seed: of the resampling.

    Raises:
        ValueError: nothing was measured, or not everything is a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"values: expected one or more finite numbers, got shape {array.shape}")
    rng = np.random.default_rng(seed)
    means = [
        array[rng.integers(len(array), size=(_BLOCK, len(array)))].mean(1) for _ in range(RESAMPLES // _BLOCK)
    ]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return Leaf(float(array.mean()), float(low), float(high), len(array))


def paired_gain(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Leaf:
    """Return the mean gain of `after` over `before` on the same items, and its interval.

    Items are resampled, not the two lists apart, so that what makes an item hard cancels.

    Args:
        before: [n], one number per item.
        after: [n], of the same items in the same order.
        seed: of the resampling.

    Raises:
        ValueError: the two differ in length.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"paired gain: expected the same items, got shapes {before.shape} and {after.shape}")
    return interval(after - before, seed)
