"""Inception score, precision, recall and kernel distance: closed forms, brute force, torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.evaluation.metrics import inception_score, kernel_distance, precision_recall
from unimm.evaluation.metrics.spread import discrepancy


def certain(classes, count):
    return 1000.0 * np.eye(count)[classes]


def test_the_inception_score_counts_the_classes_it_is_sure_of():
    assert inception_score(np.zeros((20, 5))) == pytest.approx((1, 0))
    assert inception_score(certain(np.arange(20) % 4, 5), splits=5) == pytest.approx((4, 0))
    assert inception_score(certain(np.zeros(20, int), 5), splits=2) == pytest.approx((1, 0))


def test_the_inception_score_is_the_mean_over_parts_in_order():
    logits = certain(np.array([0, 1, 0, 0, 1, 2, 3]), 4)  # parts of 3 and 4: of 7, the first ends at 7 // 2
    first = np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))
    assert inception_score(logits, splits=2)[0] == pytest.approx((first + 4) / 2)


def test_the_inception_score_is_that_of_the_definition():
    logits = np.random.default_rng(0).normal(size=(30, 7))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    parts = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in np.split(p, 3)]
    assert inception_score(logits + 500, splits=3) == pytest.approx((np.mean(parts), np.std(parts)))


def covered_by_hand(true, asked, k):
    def distance(a, b):
        return np.linalg.norm(a - b)

    radii = [sorted(distance(a, b) for j, b in enumerate(true) if j != i)[k - 1] for i, a in enumerate(true)]
    return np.mean([any(distance(x, a) <= r for a, r in zip(true, radii, strict=True)) for x in asked])


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_the_definition(k):
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(300, 3)), 2 * rng.normal(size=(41, 3)) + 1
    expected = covered_by_hand(real, drawn, k), covered_by_hand(drawn, real, k)
    assert 0 < expected[0] < 1
    assert precision_recall(real, drawn, k) == pytest.approx(expected)


def test_pictures_all_alike_are_precise_and_recall_little():
    real = np.random.default_rng(0).normal(size=(200, 2))
    assert precision_recall(real, real) == (1, 1)
    precision, recall = precision_recall(real, np.repeat(real[:1], 50, 0))
    assert precision == 1
    assert recall == pytest.approx(1 / 200)


def test_the_kernel_distance_is_that_of_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(50, 4)), rng.normal(size=(50, 4)) + 0.5
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(drawn)))
    assert discrepancy(real, drawn) == pytest.approx(expected)
    mean, deviation = kernel_distance(real, drawn)  # every subset is the whole set
    assert mean == pytest.approx(expected)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_the_kernel_distance_repeats_and_is_around_zero_for_equal_distributions():
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(2, 400, 4))
    first = kernel_distance(real, drawn, subsets=20, size=100, seed=3)
    assert first == kernel_distance(real, drawn, subsets=20, size=100, seed=3)
    assert abs(first[0]) < 3 * first[1]


def test_too_few_pictures_are_refused():
    features = np.zeros((3, 2))
    with pytest.raises(ValueError, match="real features.*at least 4"):
        precision_recall(features, features)
    with pytest.raises(ValueError, match="at least 10"):
        inception_score(features)
    with pytest.raises(ValueError, match="equally many"):
        kernel_distance(features, features[:, :1])
