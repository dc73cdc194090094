"""How alike two representations of the same samples are: CKNNA, CKA, shared neighbours.

Huh et al. 2024 (Platonic Representation Hypothesis), CKA of Kornblith et al. 2019 with the unbiased
estimate of Song et al. 2012. REPA (Yu et al. 2025) reports CKNNA with k = 10 over 10 000 images, tokens
averaged, rows of length 1 (`unit_rows`), the best block of the network. All are equal to what the
Platonic Representation code computes, its 1e-6 in the divisor included.

Letters: N samples here, W and W' the widths of the two representations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.tables import pick

FLOOR = 1e-6
"""Added to the divisor, as published."""


def unit_rows(features: Tensor) -> Tensor:
    """Return features [N W] with every row scaled to length 1, as REPA compares them."""
    return F.normalize(features.float(), dim=-1)


def cknna(a: Tensor, b: Tensor, k: int = 10, estimator: str = "unbiased") -> float:
    """Return the alignment of two representations over the pairs that are neighbours in both.

    S(K, L) is HSIC of the two kernels K = a a' and L = b b' where every row keeps only the columns that
    are among its k nearest in K and in L alike; the result is S(K, L) / sqrt(S(K, K) S(L, L)).

    Args:
        a: [N W] one representation; row i of both is the same sample. float32 or wider.
        b: [N W'] the other.
        k: neighbours; N - 1 keeps every pair, and then "unbiased" is the unbiased CKA.
        estimator: a row of ESTIMATORS.

    Raises:
        ValueError: other shapes, different N, k out of range, values that are not finite, or a
            representation that hardly varies: its own S is rounding alone and the result undefined.
    """
    rule = _estimator(estimator)
    a, b = _pair(a, b, rule.fewest)
    _refuse_neighbours(k, 2, len(a) if rule.own_neighbour else len(a) - 1, len(a))
    kernels = a @ a.mT, b @ b.mT
    masks = [_nearest(kernel, k, rule.own_neighbour) for kernel in kernels]

    def similarity(i: int, j: int) -> Tensor:
        shared = masks[i] & masks[j]
        return rule.hsic(kernels[i] * shared, kernels[j] * shared)

    return ratio("cknna", similarity(0, 1), similarity(0, 0), similarity(1, 1))


def cka(a: Tensor, b: Tensor, estimator: str = "biased") -> float:
    """Return the linear centred kernel alignment of a [N W] and b [N W'], 1 where they are equal.

    Raises:
        ValueError: as `cknna`.
    """
    rule = _estimator(estimator)
    a, b = _pair(a, b, rule.fewest)
    k, l = a @ a.mT, b @ b.mT  # noqa: E741 (K and L of the paper)
    return ratio("cka", rule.hsic(k, l), rule.hsic(k, k), rule.hsic(l, l))


def mutual_neighbours(a: Tensor, b: Tensor, k: int = 10) -> float:
    """Return which share of the k nearest neighbours, by inner product, a [N W] and b [N W'] have in common.

    Raises:
        ValueError: as `cknna`.
    """
    a, b = _pair(a, b, 2)
    _refuse_neighbours(k, 1, len(a) - 1, len(a))
    shared = _nearest(a @ a.mT, k, False) & _nearest(b @ b.mT, k, False)
    return float(shared.sum(1).double().mean() / k)


def hsic_unbiased(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Return Song et al.'s unbiased HSIC of two kernels [N N], float64; diagonals are not looked at."""
    m = len(k)
    k, l = (x.clone().fill_diagonal_(0) for x in (k, l))  # noqa: E741
    rows, columns = l.sum(1, dtype=torch.float64), k.sum(0, dtype=torch.float64)
    means = columns.sum() * rows.sum() / ((m - 1) * (m - 2))
    crossed = 2 * (columns @ rows) / (m - 2)
    return ((k * l.mT).sum(dtype=torch.float64) + means - crossed) / (m * (m - 3))


def hsic_biased(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Return tr(K H L H) of two kernels [N N], H = 1 - 1/N, float64."""
    centred = [x - x.mean(0, keepdim=True) for x in (k, l)]  # H K and H L
    return (centred[0] * centred[1].mT).sum(dtype=torch.float64)


@dataclass(frozen=True)
class Estimator:
    """One way to estimate HSIC."""

    hsic: Callable[[Tensor, Tensor], Tensor]
    """(K, L) -> scalar"""
    own_neighbour: bool
    """Whether a sample counts among its own nearest neighbours."""
    fewest: int
    """Samples below which it is undefined."""


ESTIMATORS = {
    "unbiased": Estimator(hsic_unbiased, own_neighbour=False, fewest=4),
    "biased": Estimator(hsic_biased, own_neighbour=True, fewest=2),
}


def _nearest(kernel: Tensor, k: int, own: bool) -> Tensor:
    """Return bool [N N]: which k columns of each row of the kernel are the largest."""
    if not own:
        kernel = kernel.clone().fill_diagonal_(-torch.inf)
    return torch.zeros_like(kernel, dtype=torch.bool).scatter_(1, kernel.topk(k, dim=1).indices, True)


def ratio(name: str, between: Tensor, first: Tensor, second: Tensor) -> float:
    """Return between / sqrt(first second), or say which of the two is rounding alone."""
    for which, own in (("a", first), ("b", second)):
        if own < 0:
            raise ValueError(
                f"{name}: expected representations that vary, but that of {which} with itself is "
                f"{float(own):.3g}: its samples are equal up to rounding"
            )
    return float(between / ((first * second).sqrt() + FLOOR))


def _estimator(kind: str) -> Estimator:
    return pick("estimator", kind, ESTIMATORS)


def _pair(a: Tensor, b: Tensor, fewest: int) -> tuple[Tensor, Tensor]:
    for name, x in (("a", a), ("b", b)):
        if x.dim() != 2:
            raise ValueError(
                f"{name}: expected [N W], one row per sample, got shape {tuple(x.shape)}; "
                "average over tokens first"
            )
        if not x.isfinite().all():
            raise ValueError(f"{name}: expected finite features, got NaN or infinity")
        if len(x) and (x == x[0]).all():
            raise ValueError(f"{name}: expected representations that vary, got the same row {len(x)} times")
    if len(a) != len(b):
        raise ValueError(f"b: expected as many samples as a, {len(a)}, got {len(b)}")
    if len(a) < fewest:
        raise ValueError(f"a: expected at least {fewest} samples, got {len(a)}")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _refuse_neighbours(k: int, low: int, high: int, count: int) -> None:
    if not low <= k <= high:
        raise ValueError(f"k: expected {low} to {high} neighbours of {count} samples, got {k}")
