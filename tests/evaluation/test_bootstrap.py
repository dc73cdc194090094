"""Intervals agree with the formula where there is one, and pairing helps where it should."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.bootstrap import Leaf, interval, intervals, paired_gain, paired_intervals
from unimm.evaluation.scored import Scored


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


def scored(values, tasks, groups, **options):
    return Scored(np.asarray(values, np.float64), tuple(tasks), tuple(groups), **options)


def overall(means):
    return {"overall": (means["a"] + means["b"]) / 2}


def test_groups_of_one_item_have_the_interval_of_items():
    values = np.random.default_rng(0).random(80)
    found = intervals(scored(values, ["a"] * 80, map(str, range(80))))["a"]
    plain = interval(values)
    assert found.mean == pytest.approx(plain.mean)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.01)
    assert found.n == 80


def test_items_that_stand_and_fall_together_widen_the_interval():
    each = np.random.default_rng(1).random(50)
    values, groups = np.repeat(each, 4), [str(i) for i in range(50) for _ in range(4)]
    found = intervals(scored(values, ["a"] * 200, groups))["a"]
    alone = intervals(scored(values, ["a"] * 200, map(str, range(200))))["a"]
    assert (found.high - found.low) == pytest.approx(2 * (alone.high - alone.low), rel=0.15)
    assert found.n == alone.n == 200


def test_a_total_follows_its_tasks_and_counts_their_items():
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0, 1, 100), rng.normal(5, 1, 400), rng.normal(9, 1, 10)])
    tasks = ["a"] * 100 + ["b"] * 400 + ["c"] * 10
    found = intervals(scored(values, tasks, map(str, range(510)), combine=overall))
    assert found["overall"].mean == pytest.approx((values[:100].mean() + values[100:500].mean()) / 2)
    spread = 1.96 * 0.5 * np.sqrt(1 / 100 + 1 / 400)  # of the mean of two independent means
    assert found["overall"].high - found["overall"].low == pytest.approx(2 * spread, rel=0.1)
    assert found["overall"].n == 500
    assert found["c"].n == 10


def test_tasks_that_share_no_group_keep_their_sizes():
    tasks = ["a", "b"] + ["b"] * 99
    found = intervals(scored([1.0] + [0.0] * 100, tasks, map(str, range(101)), combine=overall))
    assert found["overall"] == Leaf(0.5, 0.5, 0.5, 101)


def test_a_mean_over_all_groups_does_not_join_the_tasks_beneath_it():
    values, groups = [1.0, 1.0, 1.0, 0.0] + [1.0] * 4, [str(i) for i in range(8)]
    tasks = ["a"] * 4 + ["b"] * 4 + ["all"] * 8
    found = intervals(scored(2 * values, tasks, 2 * groups, combine=overall))
    # Of four, the binomial share that 2.5 % of resamples stay below: P(0 of 4) = 0.004, P(1 or less) = 0.051.
    assert found["a"] == Leaf(0.75, 0.25, 1.0, 4)
    assert (found["overall"].low, found["all"].low) == (0.625, 0.625)


def test_a_task_that_a_resample_lacks_is_left_out_of_it():
    groups = [*map(str, range(20)), "0", "20"]  # "c" keeps "a" from having all groups
    values, tasks = [*[1.0, 0.0] * 10, 0.75, 0.0], ["a"] * 20 + ["b", "c"]
    found = intervals(scored(values, tasks, groups, combine=overall))
    assert found["b"] == Leaf(0.75, 0.75, 0.75, 1)
    assert found["overall"].low < found["overall"].mean < found["overall"].high


def test_paired_groups_cancel_what_makes_them_hard():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, 100)
    one = scored(hard, ["a"] * 100, map(str, range(100)))
    order = rng.permutation(100)
    other = scored((hard + rng.normal(1, 0.5, 100))[order], ["a"] * 100, [str(i) for i in order])
    found = paired_intervals(one, other)["a"]
    assert found.mean == pytest.approx(other.values.mean() - hard.mean())
    assert 0.8 < found.low < found.high < 1.2
    assert intervals(one)["a"].high - intervals(one)["a"].low > 3


def test_paired_groups_must_be_the_same():
    one = scored([1.0, 0.0], ["a", "a"], ["x", "y"])
    with pytest.raises(ValueError, match=r"not so \[\('y', 'a'\), \('z', 'a'\)\]"):
        paired_intervals(one, scored([1.0, 0.0], ["a", "a"], ["x", "z"]))
