"""How drawn pictures spread over classes and real pictures: Inception score, precision, recall, KID."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from unimm.evaluation.metrics.features import expect_features

_ROWS = 256  # of a matrix of distances at a time


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Return exp of the mean divergence of each picture's classes from those of its part, and its deviation.

    Salimans et al. 2016: the pictures are cut into parts in the order given, part i from i n // splits on;
    the score is the mean over parts. 1 at worst, the number of classes at best.

    Args:
        logits: [n K] of the classes, in the order in which the pictures were drawn.
        splits: number of parts.

    Raises:
        ValueError: fewer pictures than parts, or logits that are not finite.
    """
    rows = expect_features("inception score", logits, at_least=max(splits, 1))
    rows = rows - rows.max(1, keepdims=True)
    logs = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    ends = [i * len(logs) // splits for i in range(splits + 1)]
    scores = [_score_of_part(logs[a:b]) for a, b in pairwise(ends)]
    return float(np.mean(scores)), float(np.std(scores))


def _score_of_part(logs: np.ndarray) -> float:
    classes = np.exp(logs)
    marginal = np.log(np.maximum(classes.mean(0), np.finfo(np.float64).tiny))
    return float(np.exp((classes * (logs - marginal)).sum(1).mean()))


def precision_recall(real: np.ndarray, drawn: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Return which part of the drawn pictures lies among the real, and which of the real among the drawn.

    Kynkäänniemi et al. 2019 as in ADM's evaluator: a picture lies among others if it is no further from one
    of them than that one's k-th nearest neighbour, itself not counted.

    Args:
        real: [n d] features.
        drawn: [m d].
        neighbours: k.

    Raises:
        ValueError: no more rows than k, other numbers of features, or numbers that are not finite.
    """
    real, drawn = (
        expect_features(name, rows, at_least=neighbours + 1)
        for name, rows in (("real features", real), ("drawn features", drawn))
    )
    _expect_same_width(real, drawn)
    centre = real.mean(0)  # nearer to 0, squared distances lose fewer digits
    real, drawn = real - centre, drawn - centre
    return _covered(real, drawn, neighbours), _covered(drawn, real, neighbours)


def _covered(true: np.ndarray, asked: np.ndarray, neighbours: int) -> float:
    """Return which part of `asked` [m d] lies among `true` [n d]."""
    distances = (_squared(true[i : i + _ROWS], true) for i in _starts(true))
    radii = np.concatenate([np.partition(rows, neighbours, 1)[:, neighbours] for rows in distances])
    inside = [(_squared(asked[i : i + _ROWS], true) <= radii).any(1) for i in _starts(asked)]
    return float(np.concatenate(inside).mean())


def _starts(rows: np.ndarray) -> range:
    return range(0, len(rows), _ROWS)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances [n m] of [n d] and [m d]."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T, 0)


def kernel_distance(
    real: np.ndarray, drawn: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the mean squared maximum mean discrepancy over random subsets, and its deviation (KID).

    Bińkowski et al. 2018: unbiased, so around 0 and possibly below it for equal distributions; the kernel is
    (x y / d + 1)^3.

    Args:
        real: [n d] features.
        drawn: [m d].
        subsets: how many.
        size: rows drawn from each side for each, without replacement; all of them where there are fewer.
        seed: of the drawing.

    Raises:
        ValueError: fewer than two rows, other numbers of features, or numbers that are not finite.
    """
    real, drawn = (
        expect_features(name, rows, at_least=2)
        for name, rows in (("real features", real), ("drawn features", drawn))
    )
    _expect_same_width(real, drawn)
    rng, size = np.random.default_rng(seed), min(size, len(real), len(drawn))
    pick = [[rng.choice(len(rows), size, replace=False) for rows in (real, drawn)] for _ in range(subsets)]
    found = [discrepancy(real[a], drawn[b]) for a, b in pick]
    return float(np.mean(found)), float(np.std(found))


def discrepancy(a: np.ndarray, b: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets [n d] under (x y / d + 1)^3."""
    within = [
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
        for kernel in (_cubic(a, a), _cubic(b, b))
    ]
    return float(sum(within) - 2 * _cubic(a, b).mean())


def _cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _expect_same_width(real: np.ndarray, drawn: np.ndarray) -> None:
    if real.shape[1] != drawn.shape[1]:
        raise ValueError(f"features: expected equally many, got shapes {real.shape} and {drawn.shape}")
