"""Alignment between representations: closed forms, an estimate that must be unbiased, and clean refusals."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.alignment import cka, cknna, mutual_neighbours, unit_rows
from unimm.alignment.cknna import hsic_biased, hsic_unbiased, ratio


def features(count=40, width=6, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_rotated_and_scaled_copy_is_the_same_representation():
    a = features()
    rotation = torch.linalg.qr(features(6, 6, 1))[0]
    for measure in (cknna, cka, mutual_neighbours):
        assert measure(a, 3 * a @ rotation) == pytest.approx(1, abs=1e-4)
        assert measure(a, features(seed=2)) < 0.6


def test_all_neighbours_make_cknna_the_unbiased_cka():
    a, b = features(), features(seed=1)
    assert cknna(a, b, k=39) == pytest.approx(cka(a, b, "unbiased"), abs=1e-9)
    assert cknna(a, b, k=40, estimator="biased") == pytest.approx(cka(a, b), abs=1e-9)


def test_biased_cka_is_the_ratio_of_norms_of_the_cross_covariance():
    a, b = (x - x.mean(0) for x in (features(), features(width=4, seed=1)))
    wanted = (a.mT @ b).norm() ** 2 / ((a.mT @ a).norm() * (b.mT @ b).norm())
    assert cka(a + 5, b) == pytest.approx(float(wanted), abs=1e-6)


def test_the_unbiased_estimate_is_a_mean_over_ordered_quadruples():
    k, l = (x @ x.mT for x in (features(6), features(6, seed=1)))  # noqa: E741
    terms = [
        k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
        for i in range(6)
        for j in range(6)
        for q in range(6)
        for r in range(6)
        if len({i, j, q, r}) == 4
    ]
    assert len(terms) == 6 * 5 * 4 * 3
    assert hsic_unbiased(k, l).item() == pytest.approx(sum(terms).item() / len(terms), rel=1e-9)


def test_the_biased_estimate_is_the_trace_of_centred_kernels():
    k, l = (x @ x.mT for x in (features(6), features(6, seed=1)))  # noqa: E741
    h = torch.eye(6, dtype=torch.float64) - 1 / 6
    assert hsic_biased(k, l).item() == pytest.approx(torch.trace(k @ h @ l @ h).item(), rel=1e-9)


def test_shared_neighbours_are_counted():
    angles = torch.tensor([0.0, 10.0, 25.0, 90.0, 97.0]) * math.pi / 180
    a = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert mutual_neighbours(a, a, k=1) == 1
    # Nearest in a: 1 0 1 4 3. With the last two swapped in b: 1 0 1 4 3 of other samples.
    b = a[[0, 1, 4, 3, 2]]
    assert mutual_neighbours(a, b, k=1) == pytest.approx(2 / 5)


def test_rows_get_unit_length():
    torch.testing.assert_close(unit_rows(features()).norm(dim=1), torch.ones(40))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: cknna(a, a[:9]), "b: expected as many samples as a, 40, got 9"),
        (lambda a: cknna(a, a, k=40), "k: expected 2 to 39 neighbours of 40 samples, got 40"),
        (lambda a: cknna(a, a, k=1), "got 1"),
        (lambda a: cknna(a, a, k=41, estimator="biased"), "k: expected 2 to 40"),
        (lambda a: mutual_neighbours(a, a, k=0), "k: expected 1 to 39"),
        (lambda a: cka(a[:3], a[:3], "unbiased"), "at least 4 samples, got 3"),
        (lambda a: cka(a, a, "unbiassed"), "did you mean 'unbiased'"),
        (lambda a: cka(a[None], a), r"a: expected \[N W\].*average over tokens"),
        (lambda a: cka(a, a / 0), "b: expected finite"),
    ],
)
def test_the_door_refuses(call, said):
    with pytest.raises(ValueError, match=said):
        call(features())


def test_representations_that_do_not_vary_are_refused():
    a = torch.full((23, 3), 3.3)
    with pytest.raises(ValueError, match="a: expected representations that vary, got the same row 23 times"):
        cka(a, features(23))
    with pytest.raises(ValueError, match="that of b with itself is -1e-09"):
        ratio("cka", *torch.tensor([1e-9, 1e-9, -1e-9]))
