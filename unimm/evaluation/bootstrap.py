"""Means with 95 % intervals, by resampling what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from unimm.evaluation.scored import Scored

RESAMPLES = 10_000  # an end of the interval then moves by about 0.02 of its width from seed to seed
_BLOCK = 500  # resamples at a time; bounds memory
_CELLS = 5_000_000  # numbers at a time; the same


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


def intervals(scored: Scored, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Leaf]:
    """Return every task's mean and every total with its percentile-bootstrap interval.

    Groups are resampled, such as all pictures of a prompt. Tasks that share no group are resampled apart,
    each with as many groups as it has, whatever other tasks count all groups, such as a mean over all of
    them; a resample in which a task has no item tells nothing of it.

    Args:
        scored: items, tasks and groups.
        seed: of the resampling.
        resamples: how many.
    """
    table = _Table(scored)
    drawn = _joined(table.numbers(weights) for weights in table.resampled(seed, resamples))
    counts = table.counts()
    return {name: _leaf(value, drawn[name], counts[name]) for name, value in scored.metrics().items()}


def paired_intervals(
    before: Scored, after: Scored, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Leaf]:
    """Return by how much `after` is above `before` in every number, with its interval.

    Both are of the same groups, which are resampled together, so that what makes a group hard cancels.

    Raises:
        ValueError: the two have other tasks, or other groups in a task.
    """
    first, second = _Table(before), _Table(after)
    if first.shape() != second.shape():
        odd = sorted(first.shape() ^ second.shape())[:3]
        raise ValueError(f"paired difference: expected the same groups in the same tasks, but not so {odd}")
    parts = (
        _minus(second.numbers(weights), first.numbers(weights))
        for weights in first.resampled(seed, resamples)
    )
    drawn, ours, theirs = _joined(parts), before.metrics(), after.metrics()
    counts = first.counts()
    return {name: _leaf(theirs[name] - ours[name], drawn[name], counts[name]) for name in ours}


class _Table:
    """Sums and counts of items, per group and task."""

    def __init__(self, scored: Scored):
        self.scored = scored
        self.tasks = tuple(dict.fromkeys(scored.tasks))
        self.groups = tuple(sorted(set(scored.groups)))  # so that two tables of the same groups agree
        rows = _places(scored.groups, self.groups)
        columns = _places(scored.tasks, self.tasks)
        self.sums = np.zeros((len(self.groups), len(self.tasks)))
        self.sizes = np.zeros_like(self.sums)
        np.add.at(self.sums, (rows, columns), scored.values)
        np.add.at(self.sizes, (rows, columns), 1)

    def shape(self) -> set[tuple[str, str]]:
        """Return which group has items in which task."""
        rows, columns = np.nonzero(self.sizes)
        return {(self.groups[row], self.tasks[column]) for row, column in zip(rows, columns, strict=True)}

    def counts(self) -> dict[str, int]:
        """Return how many items each task has, and each total: those of the tasks that it follows from.

        Tasks of the same groups are measures of the same items, which count once.
        """
        sizes = {task: int(size) for task, size in zip(self.tasks, self.sizes.sum(0), strict=True)}
        groups = {task: (self.sizes[:, column] > 0).tobytes() for column, task in enumerate(self.tasks)}
        even = {task: np.full(1, 0.5) for task in self.tasks}
        totals = self.scored.combine(even)
        moved = {task: self.scored.combine({**even, task: np.full(1, 0.6)}) for task in self.tasks}
        follows: dict[str, int] = {}
        for name in totals:
            most: dict[bytes, int] = {}
            for task in self.tasks:
                if moved[task][name] != totals[name]:
                    most[groups[task]] = max(most.get(groups[task], 0), sizes[task])
            follows[name] = sum(most.values())
        return {**sizes, **follows}

    def resampled(self, seed: int, resamples: int) -> Iterator[np.ndarray]:
        """Yield how often each group is drawn, [R G], some resamples at a time."""
        rng, strata = np.random.default_rng(seed), self._strata()
        block = max(1, min(_BLOCK, _CELLS // len(self.groups)))
        for start in range(0, resamples, block):
            weights = np.zeros((min(block, resamples - start), len(self.groups)))
            for members in strata:
                size = len(members)
                weights[:, members] = rng.multinomial(size, np.full(size, 1 / size), len(weights))
            yield weights

    def _strata(self) -> list[np.ndarray]:
        """Return the groups, cut where no task joins them; one that has all groups says nothing of that."""
        has = self.sizes > 0
        parting = has[:, ~has.all(0)].astype(np.float64)
        if not parting.size:
            return [np.arange(len(self.groups))]
        reach = (parting.T @ parting > 0).astype(np.float64)  # tasks that share a group
        for _ in range(len(reach)):
            reach = (reach @ reach > 0).astype(np.float64)
        first = reach.argmax(1)  # the first task that each task is joined to
        stratum = np.where(parting.any(1), first[parting.argmax(1)], -1)
        return [np.flatnonzero(stratum == each) for each in np.unique(stratum)]

    def numbers(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return every mean and total, each [R], of groups drawn [R G]; NaN where there is nothing."""
        sums, sizes = weights @ self.sums, weights @ self.sizes
        means = np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)
        named = {task: means[:, column] for column, task in enumerate(self.tasks)}
        return {**named, **self.scored.combine(named)}


def _places(names: Sequence[str], table: Sequence[str]) -> np.ndarray:
    where = {name: place for place, name in enumerate(table)}
    return np.fromiter((where[name] for name in names), np.int64, len(names))


def _joined(parts: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    blocks = list(parts)
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _minus(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: one[name] - other[name] for name in one}


def _leaf(value: float, drawn: np.ndarray, count: int) -> Leaf:
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Leaf(float(value), float(low), float(high), count)
