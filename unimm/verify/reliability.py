"""Do probabilities keep their word? Bins of equal mass, what was promised in each, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Drawings of about one probability."""

    promised: float  # mean probability
    kept: float  # share that is right
    n: int


def reliability(probabilities: np.ndarray, right: np.ndarray, num_bins: int = BINS) -> list[Bin]:
    """Return bins of equal mass, lowest probability first; equal probabilities are never parted.

    Where no more different ones occur than there are bins, each has its own.

    Args:
        probabilities: [n] in [0, 1].
        right: [n] verdicts, 0 or 1.
        num_bins: how many; where many probabilities are equal, fewer come out.

    Raises:
        ValueError: nothing, another number of verdicts, or what is no probability.
    """
    p, right = np.asarray(probabilities, np.float64), np.asarray(right, np.float64)
    if p.shape != right.shape or p.ndim != 1 or not len(p):
        raise ValueError(
            f"reliability: expected as many verdicts as probabilities, got {right.shape}, {p.shape}"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("reliability: expected probabilities from 0 to 1")
    _, level, counts = np.unique(p, return_inverse=True, return_counts=True)
    number = level if len(counts) <= num_bins else _numbers(counts, num_bins)[level]
    members = [number == k for k in np.unique(number)]
    return [Bin(float(p[m].mean()), float(right[m].mean()), int(m.sum())) for m in members]


def _numbers(counts: np.ndarray, num_bins: int) -> np.ndarray:
    """Return the bin of each run of equal probabilities, given how many there are of each, [K].

    A bin is full when it holds its share of what was left when it was begun, so that a long run makes the
    others fewer, not smaller: none has less than half of its share.
    """
    total, done, number, numbers = int(counts.sum()), 0, 0, []
    full = total / num_bins
    for count in np.cumsum(counts).tolist():
        numbers.append(number)
        if count >= full:
            done, number = count, number + 1
            left = max(1, round((total - done) * num_bins / total))
            full = done + (total - done) / left
    return np.array(numbers)


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error in [0, 1]: the mean distance between promised and kept.

    Weighted by the bins' sizes (Naeini et al. 2015); over bins of equal mass (Nixon et al. 2019).
    """
    total = sum(b.n for b in bins)
    return sum(b.n * abs(b.promised - b.kept) for b in bins) / total
