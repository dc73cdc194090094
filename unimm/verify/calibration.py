"""From a verifier's score to the probability that a drawing is right: a monotone map, fitted on verdicts.

Two kinds of map: isotonic regression by pooling adjacent violators (Ayer et al. 1955; Zadrozny and Elkan
2002), which takes any monotone shape and needs many verdicts for it, and the logistic curve (Platt 1999),
which is two numbers. `calibrate` takes the one with the smaller log loss on prompts it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FOLDS = 5  # of the held-out comparison: a fifth of the prompts is judged by a map fitted on the others
NEWTON_STEPS = 100  # a logistic fit converges in about ten
TAIL = 0.005  # share of scores at each end that the logistic curve does not look beyond: a verifier may give
# a constant far off to what it cannot judge, which would bend the whole curve


@dataclass(frozen=True)
class Calibration:
    """A monotone map: linear between knots, constant beyond them."""

    kind: str  # "isotonic" or "logistic": how the knots were made
    scores: tuple[float, ...]  # K, not falling; of two equal ones the later holds from there on
    probabilities: tuple[float, ...]  # K, not falling, each above 0 and below 1
    n: int  # verdicts it was fitted on
    facts: Mapping[str, Any]  # what they were measured on, when, how

    def __post_init__(self) -> None:
        scores, found = np.array(self.scores), np.array(self.probabilities)
        if not len(scores) or scores.shape != found.shape or scores.ndim != 1:
            raise ValueError(
                f"calibration: expected as many probabilities as scores, one or more, "
                f"got {len(found)} and {len(scores)}"
            )
        if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
            raise ValueError("calibration: expected finite scores that do not fall")
        if not ((found > 0) & (found < 1)).all() or (np.diff(found) < 0).any():
            raise ValueError("calibration: expected probabilities between 0 and 1 that do not fall")

    def __call__(self, scores: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return probabilities, float64 [n], of scores [n]; NaN where the score is no finite number."""
        scores = np.asarray(scores, np.float64)
        found = np.interp(scores, self.scores, self.probabilities)
        return np.where(np.isfinite(scores), found, np.nan)


def fit_isotonic(
    scores: np.ndarray, right: np.ndarray, facts: Mapping[str, Any] | None = None
) -> Calibration:
    """Return the best map that never falls: constant on pools of neighbours, linear between them.

    One right verdict is added at the lowest score and one wrong at the highest, so that no probability is 0
    or 1: nothing that was seen says never or always.

    Args:
        scores: [n] finite.
        right: [n] verdicts, 0 or 1.
        facts: kept with the map.
    """
    scores, right = _checked(scores, right)
    x = np.concatenate([[scores.min()], scores, [scores.max()]])
    y = np.concatenate([[1.0], right, [0.0]])
    levels, first = np.unique(x, return_inverse=True)
    weights = np.bincount(first).astype(float)
    pools = _pool(levels, np.bincount(first, y) / weights, weights)
    knots = [(edge, mean) for low, high, mean, _ in pools for edge in ((low, high) if high > low else (low,))]
    return _calibration("isotonic", knots, len(right), facts)


def fit_logistic(
    scores: np.ndarray, right: np.ndarray, facts: Mapping[str, Any] | None = None
) -> Calibration:
    """Return the logistic curve of greatest likelihood that never falls, drawn through 65 knots.

    Targets are Platt's: (r + 1) / (r + 2) for the r that are right, 1 / (w + 2) for the w that are wrong.

    Args:
        scores: [n] finite.
        right: [n] verdicts, 0 or 1.
        facts: kept with the map.
    """
    scores, right = _checked(scores, right)
    low, high = np.quantile(scores, (TAIL, 1 - TAIL))
    middle, scale = (low + high) / 2, (high - low) / 2 or 1.0
    num_right, num_wrong = right.sum(), (1 - right).sum()
    targets = np.where(right == 1, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    slope, offset = _newton((np.clip(scores, low, high) - middle) / scale, targets)
    if slope <= 0:  # the best curve that does not fall is then the constant
        slope, offset = 0.0, float(np.log(targets.mean() / (1 - targets.mean())))
    u = np.linspace(-1, 1, 65) if high > low else np.zeros(1)
    curve = 1 / (1 + np.exp(-(slope * u + offset)))
    return _calibration("logistic", zip(u * scale + middle, curve, strict=True), len(right), facts)


FITS: dict[str, Callable[..., Calibration]] = {"isotonic": fit_isotonic, "logistic": fit_logistic}


def calibrate(
    scores: np.ndarray, right: np.ndarray, groups: np.ndarray, facts: Mapping[str, Any] | None = None
) -> Calibration:
    """Return the map of the kind that does better on what it has not seen; `facts` say by how much.

    Args:
        scores: [n] finite.
        right: [n] verdicts, 0 or 1.
        groups: [n] what stands and falls together, such as the prompt: a group is never split between
            fitting and judging.
        facts: kept with the map, beside `held_out_log_loss` of every kind.

    Raises:
        ValueError: fewer groups than folds, or scores that are no finite numbers.
    """
    scores, right = _checked(scores, right)
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < FOLDS:
        raise ValueError(f"groups: expected at least {FOLDS} prompts to compare maps on, got {len(names)}")
    losses = {
        kind: float(np.mean(_held_out(fit, scores, right, group % FOLDS))) for kind, fit in FITS.items()
    }
    best = min(losses, key=losses.__getitem__)
    rounded = {kind: round(loss, 5) for kind, loss in losses.items()}
    return FITS[best](scores, right, {**(facts or {}), "held_out_log_loss": rounded})


def log_loss(probabilities: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return -log of the probability given to each verdict, nats, [n]; infinite for a wrong certainty."""
    given = np.where(np.asarray(right, bool), probabilities, 1 - np.asarray(probabilities))
    with np.errstate(divide="ignore"):
        return -np.log(given)


def _held_out(fit: Callable[..., Calibration], scores: np.ndarray, right: np.ndarray, fold: np.ndarray):
    """Return the log loss of each verdict under a map fitted on the other folds, [n]."""
    losses = np.empty(len(scores))
    for number in range(FOLDS):
        out = fold == number
        losses[out] = log_loss(fit(scores[~out], right[~out])(scores[out]), right[out])
    return losses


def _pool(
    levels: np.ndarray, means: np.ndarray, weights: np.ndarray
) -> list[tuple[float, float, float, float]]:
    """Return (low, high, mean, weight) of pools whose means rise: neighbours that fall are merged."""
    pools: list[tuple[float, float, float, float]] = []
    for level, mean, weight in zip(levels.tolist(), means.tolist(), weights.tolist(), strict=True):
        pool = (level, level, mean, weight)
        while pools and pools[-1][2] >= pool[2]:
            low, _, before, heavy = pools.pop()
            total = heavy + pool[3]
            pool = (low, pool[1], (before * heavy + pool[2] * pool[3]) / total, total)
        pools.append(pool)
    return pools


def _newton(u: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of greatest likelihood; a faint pull to zero keeps them finite."""
    x, beta, pull = np.stack([u, np.ones_like(u)], 1), np.zeros(2), 1e-6 * np.eye(2)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(x @ beta)))
        gradient = x.T @ (targets - p) - pull @ beta
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + pull, gradient)
        beta = beta + step * min(1.0, 5.0 / (np.abs(step).max() + 1e-12))  # far steps overshoot
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def _calibration(kind: str, knots, n: int, facts: Mapping[str, Any] | None) -> Calibration:
    scores, found = zip(*((float(score), float(p)) for score, p in knots), strict=True)
    return Calibration(kind, scores, found, n, dict(facts or {}))


def _checked(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, right = np.asarray(scores, np.float64), np.asarray(right, np.float64)
    if scores.shape != right.shape or scores.ndim != 1 or not len(scores):
        raise ValueError(
            f"calibrate: expected as many verdicts as scores, got {right.shape} and {scores.shape}"
        )
    if not np.isfinite(scores).all() or not np.isin(right, (0, 1)).all():
        raise ValueError("calibrate: expected finite scores and verdicts of 0 or 1")
    return scores, right
