"""Aspect-ratio buckets: sizes by hand, boxes in closed form, batches that are a pure function."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.data.buckets import (
    Bucket,
    BucketBatches,
    aspect_buckets,
    crop_box,
    fit_to_bucket,
    nearest_buckets,
)


def test_buckets_worked_out_by_hand():
    # 64^2 = 4096: 80 x 51.2 -> 48, 96 x 42.7 -> 48 (above sqrt(32 * 48) = 39.2), 112 x 36.6 -> 32,
    # 128 x 32 has the ratio 4; 144 x 28.4 -> 32 has more.
    wide = [(64, 64), (48, 80), (48, 96), (32, 112), (32, 128)]
    tall = [(width, height) for height, width in wide[:0:-1]]
    assert aspect_buckets(64, 16, 4) == tall + wide
    assert aspect_buckets(64, 16, 3.5) == tall[1:] + wide[:-1]
    assert aspect_buckets(64, 16, 1) == [(64, 64)]
    assert aspect_buckets(64, 64, 1.9) == [(64, 64)]


@pytest.mark.parametrize(("base", "multiple", "max_ratio"), [(256, 16, 2), (1024, 64, 4), (512, 16, 3)])
def test_every_bucket_has_about_the_area_and_fits_the_rules(base, multiple, max_ratio):
    buckets = aspect_buckets(base, multiple, max_ratio)
    assert Bucket(base, base) in buckets
    assert {(w, h) for h, w in buckets} == set(buckets)
    ratios = [w / h for h, w in buckets]
    assert ratios == sorted(set(ratios))
    assert 1 / max_ratio <= ratios[0]
    for height, width in buckets:
        assert height % multiple == width % multiple == 0
        short = min(height, width)
        # The nearest multiple in ratio is off by at most the root of the step around it.
        assert short / (short + multiple) <= (height * width / base**2) ** 2 <= short / (short - multiple)
    longest = max(max(bucket) for bucket in buckets)
    assert longest > 0.9 * base * max_ratio**0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 16, 2), "base: expected 1 or more, got 0"),
        ((100, 16, 2), "base: expected a multiple of 16, got 100"),
        ((64, 16, 0.5), "max_ratio: expected 1 or more, got 0.5"),
        ((64, 16, float("nan")), "max_ratio"),
    ],
)
def test_impossible_buckets_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        aspect_buckets(*arguments)


def test_a_picture_goes_where_the_log_ratio_is_nearest():
    buckets = [Bucket(64, 64), Bucket(32, 128), Bucket(128, 32)]  # log ratios 0, log 4, -log 4
    sizes = [(100, 100), (100, 199), (100, 201), (201, 100), (10, 1000)]  # halfway is a ratio of 2
    assert nearest_buckets(np.array(sizes), buckets).tolist() == [0, 0, 1, 2, 1]


def test_nearest_is_what_trying_all_gives():
    buckets = aspect_buckets(256, 16, 4)
    sizes = np.random.default_rng(0).integers(50, 2000, (500, 2))
    distance = np.abs(
        np.log(sizes[:, 1] / sizes[:, 0])[:, None] - np.log([b.width / b.height for b in buckets])
    )
    assert np.array_equal(nearest_buckets(sizes, buckets), distance.argmin(axis=1))


@pytest.mark.parametrize(
    ("sizes", "buckets", "said"),
    [
        ([[1, 2]], [], "buckets: expected at least one"),
        ([1, 2], [Bucket(8, 8)], r"sizes: expected \[n 2\]"),
        ([[4, 4], [0, 3]], [Bucket(8, 8)], r"got \(0, 3\) for picture 1, the first of 1"),
    ],
)
def test_sizes_that_are_none_are_refused(sizes, buckets, said):
    with pytest.raises(ValueError, match=said):
        nearest_buckets(np.array(sizes), buckets)


def test_the_box_is_the_largest_centred_part_of_that_shape():
    assert crop_box(100, 300, Bucket(64, 64)) == (100, 0, 200, 100)
    assert crop_box(300, 100, Bucket(64, 64)) == (0, 100, 100, 200)
    assert crop_box(100, 100, Bucket(32, 128)) == (0, 37.5, 100, 62.5)
    assert crop_box(48, 80, Bucket(48, 80)) == (0, 0, 80, 48)


def test_a_picture_is_cut_and_resized():
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = np.random.default_rng(0).integers(0, 255, (1, 1, 3))
    fitted = fit_to_bucket(picture, Bucket(32, 32))
    assert fitted.shape == (32, 32, 3)
    inside = fitted[:, 2:-2]  # the filter is two pixels wide
    assert np.array_equal(inside, np.broadcast_to(picture[0, 150], inside.shape))
    ramp = np.broadcast_to(np.linspace(0, 252, 64, dtype=np.uint8)[:, None, None], (64, 64, 3)).copy()
    assert np.array_equal(fit_to_bucket(ramp, Bucket(64, 64)), ramp)
    tall = fit_to_bucket(ramp, Bucket(64, 16))[:, 0, 0].astype(int)
    assert (np.diff(tall) >= 0).all()  # rows stay rows
    with pytest.raises(ValueError, match=r"expected uint8 \[H W 3\], got float64"):
        fit_to_bucket(picture / 255, Bucket(32, 32))


ASSIGNED = np.random.default_rng(1).choice(4, 103, p=[0.5, 0.3, 0.18, 0.02])


def epoch(batches, number):
    start = number * len(batches)
    return [batches.batch(i) for i in range(start, start + len(batches))]


@pytest.mark.parametrize("remainder", ["drop", "repeat"])
def test_an_epoch_shows_each_picture_once_but_for_what_is_counted(remainder):
    batches = BucketBatches(ASSIGNED, 8, seed=3, remainder=remainder)
    counts = np.bincount(ASSIGNED)
    for number in range(3):
        seen = np.zeros(len(ASSIGNED), int)
        for bucket, pictures in epoch(batches, number):
            assert (ASSIGNED[pictures] == bucket).all()
            assert len(pictures) == 8
            np.add.at(seen, pictures, 1)
        for bucket in range(4):
            mine = seen[bucket == ASSIGNED]
            assert (mine == 0).sum() == batches.dropped[bucket]
            assert np.maximum(mine - 1, 0).sum() == batches.repeated[bucket]
    left = counts % 8
    expected = {"drop": (left, 0 * left), "repeat": (0 * left, -counts % 8)}[remainder]
    assert np.array_equal([batches.dropped, batches.repeated], expected)


def test_batches_are_a_pure_function_of_seed_epoch_and_position():
    one, other = (BucketBatches(ASSIGNED, 8, seed=3) for _ in range(2))
    for position in (57, 3, 20):  # in no order
        assert np.array_equal(one.batch(position)[1], other.batch(position)[1])
    orders = [[b for b, _ in epoch(one, n)] for n in (0, 1)] + [
        [b for b, _ in epoch(BucketBatches(ASSIGNED, 8, seed=4), 0)]
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != sorted(orders[0])  # buckets are mixed


def test_what_is_dropped_differs_from_epoch_to_epoch():
    batches = BucketBatches(np.zeros(11, int), 8, seed=0)
    shown = [frozenset(pictures) for n in range(20) for _, pictures in epoch(batches, n)]
    assert len(set(shown)) > 10
    assert frozenset().union(*shown) == set(range(11))


def test_equal_buckets_are_shuffled_differently():
    batches = BucketBatches(np.repeat([0, 1], 64), 64, seed=0)
    orders = dict(epoch(batches, 0))
    assert not np.array_equal(orders[0], orders[1] - 64)


def test_the_report_counts():
    batches = BucketBatches(np.repeat([0, 1, 2], [9, 16, 3]), 8, seed=0)
    assert batches.report() == (
        "3 batches of 8 in 2 buckets; per epoch 4 of 28 pictures left out, 0 shown again; 3 never shown"
    )
    assert BucketBatches(np.repeat([0, 2], [9, 16]), 8, seed=0, remainder="repeat").report() == (
        "4 batches of 8 in 2 buckets; per epoch 0 of 25 pictures left out, 7 shown again"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0.5], 2, 0), "assigned: expected integers"),
        (([-1], 2, 0), "assigned: expected integers of 0 or more"),
        (([0], 0, 0), "batch_size: expected 1 or more, got 0"),
        (([0, 1, 0], 3, 0), "expected a bucket with 3 pictures or more, got at most 2 in one of 3"),
        ((np.zeros(0, int), 3, 0), "got at most 0 in one of 0"),
        (([0], 1, 0, "repaet"), "did you mean 'repeat'"),
    ],
)
def test_impossible_batches_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        BucketBatches(*arguments)
    with pytest.raises(ValueError, match="position: expected 0 or more"):
        BucketBatches(ASSIGNED, 8, 0).batch(-1)
