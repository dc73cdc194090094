"""The order of mixed sources: every sample once an epoch, shares kept, no state."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unimm.data.mixture import Mixture, ShardOrder
from unimm.data.talks import InOrder

ROWS = (5, 0, 7, 3, 9, 1)


def located(order, start, count):
    shard, row, epoch = order.locate(np.arange(start, start + count))
    return list(zip(shard.tolist(), row.tolist(), epoch.tolist(), strict=True))


@pytest.mark.parametrize("shards_at_once", [None, 1, 2, 4, 100])
def test_every_row_comes_once_an_epoch(shards_at_once):
    order = ShardOrder(ROWS, seed=3, shards_at_once=shards_at_once)
    everything = {(shard, row) for shard, rows in enumerate(ROWS) for row in range(rows)}
    orders = []
    for epoch in range(3):
        found = located(order, epoch * sum(ROWS), sum(ROWS))
        assert {(shard, row) for shard, row, _ in found} == everything
        assert {number for *_, number in found} == {epoch}
        orders.append([place[:2] for place in found])
    assert orders[0] != orders[1] != orders[2]
    assert located(ShardOrder(ROWS, 4, shards_at_once), 0, sum(ROWS)) != located(order, 0, sum(ROWS))


@pytest.mark.parametrize("shards_at_once", [1, 2])
def test_few_shards_are_open_at_a_time(shards_at_once):
    order = ShardOrder((10,) * 12, seed=0, shards_at_once=shards_at_once)
    shards = [shard for shard, *_ in located(order, 0, 120)]
    size = 10 * shards_at_once
    for start in range(0, 120, size):
        assert len(set(shards[start : start + size])) == shards_at_once
    assert shards != sorted(shards)


@pytest.mark.parametrize("shards_at_once", [None, 2])
def test_a_position_does_not_depend_on_what_was_asked_before(shards_at_once):
    mixture = Mixture(
        [ShardOrder(ROWS, 1, shards_at_once), ShardOrder((1000,), 2), ShardOrder((4, 4), 3)],
        (0.2, 0.5, 0.3),
        7,
    )
    whole = mixture.locate(np.arange(5000))
    again = Mixture(mixture.sources, (0.2, 0.5, 0.3), 7)
    for chosen in (np.array([4999, 3, 1024]), np.arange(1, 5000, 3), np.arange(2047, 2049)):
        for found, all_of in zip(again.locate(chosen), whole, strict=True):
            np.testing.assert_array_equal(found, all_of[chosen])


def test_each_source_has_its_share_and_is_gone_through_evenly():
    weights = (1.0, 2.0, 5.0, 0.01)
    sources = [ShardOrder((50,), seed) for seed in range(4)]
    places = Mixture(sources, weights, 0).locate(np.arange(20_480))
    shares = Counter(places.source.tolist())
    for source, weight in enumerate(weights):
        assert shares[source] == pytest.approx(20_480 * weight / sum(weights), abs=2)
        of_source = places.source == source
        rows = Counter(places.row[of_source].tolist())
        assert max(rows.values()) - min(rows.get(row, 0) for row in range(50)) <= 1 + shares[source] // 1024
    first = places.source[:200]
    assert len(set(first.tolist())) > 1  # they take turns; none waits for another to end


def test_a_source_goes_through_an_epoch_before_the_next_begins():
    places = Mixture([ShardOrder((30,), 0), ShardOrder((70,), 1)], (1, 1), 5).locate(np.arange(1024))
    for source, count in ((0, 30), (1, 70)):
        rows = places.row[places.source == source]
        epochs = places.epoch[places.source == source]
        for epoch in range(int(epochs.max())):
            assert sorted(rows[epochs == epoch].tolist()) == list(range(count))


def test_a_source_keeps_its_own_order_among_others():
    sources = [InOrder((700, 500)), ShardOrder((10,) * 300, 0, 2)]
    places = Mixture(sources, (2, 3), 5).locate(np.arange(5000))
    for number, source in enumerate(sources):
        chosen = places.source == number
        shard, row, epoch = source.locate(np.arange(chosen.sum()))
        for found, expected in zip(
            (places.shard, places.row, places.epoch), (shard, row, epoch), strict=True
        ):
            np.testing.assert_array_equal(found[chosen], expected)


def test_far_positions_cost_no_more_and_stay_exact():
    mixture = Mixture([ShardOrder((10_000,) * 1000, 0, 4), ShardOrder((3,), 1)], (1 - 1e-3, 1e-3), 0)
    far = 10**13
    places = mixture.locate(np.arange(far, far + 100_000))
    assert (places.source == 1).sum() == pytest.approx(100, abs=2)
    assert places.row.max() < 10_000


@pytest.mark.parametrize(
    ("sources", "weights", "said"),
    [
        ([], [], "at least one source"),
        ([ShardOrder((1,), 0)], [1, 2], "got 2 for 1"),
        ([ShardOrder((1,), 0)], [0], "positive numbers"),
        ([ShardOrder((1,), 0)], [float("nan")], "positive numbers"),
        ([ShardOrder((1,), 0)] * 2, [1, 1e-9], "a millionth"),
    ],
)
def test_mixtures_that_cannot_be_are_refused(sources, weights, said):
    with pytest.raises(ValueError, match=said):
        Mixture(sources, weights, 0)


def test_sources_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="is the data set empty"):
        ShardOrder((0, 0), 0)
    with pytest.raises(ValueError, match="shards_at_once"):
        ShardOrder((1,), 0, 0)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        Mixture([ShardOrder((1,), 0)], [1], 0).locate(np.array([-1]))
