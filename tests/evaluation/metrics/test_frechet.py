"""Fréchet distances by closed forms and by a general matrix root; recorded numbers are in tests/parity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from unimm.evaluation.metrics import Moments, frechet_distance, moments


def by_general_root(a, b, eps):
    offset = eps * np.eye(len(a.mean))
    root = sqrtm((a.covariance + offset) @ (b.covariance + offset))
    return (
        np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance + 2 * offset - 2 * root).real
    )


def some_moments(rows, width=6, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    return moments(rng.normal(size=(rows, width)) @ mixing + rng.normal(size=width))


def test_of_independent_features_it_is_a_sum_over_features():
    a = Moments(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    b = Moments(np.array([1.0, 5.0]), np.diag([1.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(3**2 + (2 - 1) ** 2 + (3 - 0) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_of_one_feature_it_compares_means_and_deviations():
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [4.0]])
    assert frechet_distance(moments(x), moments(y)) == pytest.approx((2**0.5 - 8**0.5) ** 2)


@pytest.mark.parametrize("rows", [50, 4])  # with 4 the product is singular
def test_a_general_root_gives_the_same(rows):
    a, b = some_moments(rows, seed=0), some_moments(rows, seed=1)
    assert frechet_distance(a, b) == pytest.approx(by_general_root(a, b, 0), rel=1e-6)
    assert frechet_distance(a, b, eps=1e-6) == pytest.approx(by_general_root(a, b, 1e-6), rel=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_a_few_pictures_have_no_distance_from_themselves():
    features = np.random.default_rng(0).normal(size=(8, 64))
    assert frechet_distance(moments(features), moments(features)) == pytest.approx(0, abs=1e-5)


def test_features_far_from_zero_keep_their_covariance():
    features = np.random.default_rng(0).normal(size=(100, 3))
    np.testing.assert_allclose(
        moments(features + 1e6).covariance, np.cov(features, rowvar=False), rtol=0, atol=1e-8
    )


def test_what_has_no_moments_is_refused():
    with pytest.raises(ValueError, match="n of at least 2, got shape"):
        moments(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="expected finite numbers, got 1 others"):
        moments(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="equally many features"):
        frechet_distance(some_moments(9, 3), some_moments(9, 4))
