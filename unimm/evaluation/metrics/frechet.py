"""The Fréchet distance between two sets of features, taken for Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimm.evaluation.metrics.features import expect_features


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of features."""

    mean: np.ndarray
    """[d] float64."""
    covariance: np.ndarray
    """[d d] float64, divided by n - 1."""


def moments(features: np.ndarray) -> Moments:
    """Return the moments of features [n d].

    Raises:
        ValueError: fewer than two rows, or numbers that are not finite.
    """
    rows = expect_features("features", features, at_least=2)
    return Moments(rows.mean(0), np.atleast_2d(np.cov(rows, rowvar=False)))


def frechet_distance(a: Moments, b: Moments, eps: float = 0.0) -> float:
    """Return |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), at least 0 but for rounding.

    Heusel et al. 2017. The eigenvalues of A B are those of the symmetric A^(1/2) B A^(1/2), whose roots are
    real and exist even where A B is singular, as it is with fewer pictures than features. pytorch-fid
    (b9c1811) takes a general matrix root, drops its imaginary part, and adds 1e-6 to both diagonals where the
    root is not finite; with d features that moves the distance by d * 1e-6 and more.

    Args:
        a: moments of d features.
        b: the same.
        eps: what is added to both diagonals first.

    Raises:
        ValueError: different numbers of features.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"frechet: expected equally many features, got {a.mean.shape} and {b.mean.shape}")
    first, second = (each.covariance + eps * np.eye(len(each.mean)) for each in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.linalg.eigvalsh(root @ second @ root)
    traces = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(shared, 0)).sum()
    return float(np.square(a.mean - b.mean).sum() + traces)
