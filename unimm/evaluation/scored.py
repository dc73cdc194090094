"""What a scorer makes of records: a value per item, from which every mean and its interval follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Totals = Mapping[str, np.ndarray]
"""Numbers by name, each [R]: R = 1 for the score itself, many for its bootstrap."""


def no_totals(means: Totals) -> Totals:
    """Return nothing: the means of the tasks are all there is."""
    return {}


@dataclass(frozen=True)
class Scored:
    """Items measured; a task's number is the mean of its items, totals follow from these means."""

    values: np.ndarray
    """[n] float64, one per item."""
    tasks: tuple[str, ...]
    """[n] the task each item counts for, by its key in the card, such as "counting"."""
    groups: tuple[str, ...]
    """[n] what stands and falls together, such as a prompt or an image; the bootstrap resamples these."""
    combine: Callable[[Totals], Totals] = no_totals
    """Means of the tasks, each [R], to further numbers such as "overall", each [R]."""
    unparsed: int = 0
    """Answers that no rule could read; how they were counted is the scorer's policy."""
    failed: int = 0
    """Items that could not be judged at all, such as a broken picture."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What no mean counts, by its reason; where the rules or the user allow it."""
    each: Mapping[str, float] = field(default_factory=dict)
    """What each record by its id is worth alone, in [0, 1], for people to look at; where the scorer says."""

    def __post_init__(self) -> None:
        sizes = {len(self.values), len(self.tasks), len(self.groups)}
        if len(sizes) != 1 or self.values.ndim != 1:
            raise ValueError(f"scored: expected a value, a task and a group per item, got {sorted(sizes)}")
        if not np.isfinite(self.values).all():
            raise ValueError("scored: expected finite values, got some that are not")

    def metrics(self) -> dict[str, float]:
        """Return every task's mean and every total."""
        names = np.array(self.tasks, dtype=object)
        means = {task: self.values[names == task].mean(keepdims=True) for task in dict.fromkeys(self.tasks)}
        return {name: float(value[0]) for name, value in {**means, **self.combine(means)}.items()}
