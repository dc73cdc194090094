"""Intervals agree with the formula where there is one, and pairing helps where it should."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.bootstrap import Leaf, interval, paired_gain


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.85])
def test_the_interval_of_a_share_is_that_of_the_formula(rate):
    values = np.zeros(600)
    values[: round(600 * rate)] = 1
    leaf, half = interval(values), 1.96 * np.sqrt(rate * (1 - rate) / 600)
    assert leaf.mean == pytest.approx(rate)
    assert leaf.n == 600
    assert rate - leaf.low == pytest.approx(half, rel=0.1)
    assert leaf.high - rate == pytest.approx(half, rel=0.1)


def test_the_interval_holds_the_truth_about_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        leaf = interval(rng.normal(3, 2, 60))
        held += leaf.low <= 3 <= leaf.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_order_does_not_move_the_mean():
    values = np.random.default_rng(1).random(50)
    assert interval(values) == interval(values)
    assert interval(values).mean == pytest.approx(interval(values[::-1]).mean)


def test_measurements_all_alike_give_no_width():
    assert interval([True] * 30) == Leaf(1.0, 1.0, 1.0, 30)


def test_pairing_cancels_what_makes_an_item_hard():
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 10, 200)
    before, after = hard, hard + rng.normal(1, 0.5, 200)
    gain = paired_gain(before, after)
    assert gain.mean == pytest.approx((after - before).mean())
    assert 0.5 < gain.low < gain.high < 1.5
    apart = interval(after).high - interval(before).low
    assert gain.high - gain.low < apart / 5


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, float("nan")]])
def test_nothing_and_nonsense_are_refused(bad):
    with pytest.raises(ValueError, match="values: expected"):
        interval(bad)


def test_a_gain_needs_the_same_items():
    with pytest.raises(ValueError, match="same items"):
        paired_gain(np.zeros(3), np.zeros(4))
