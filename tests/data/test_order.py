"""unimm.data.order: permutations without memory."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.data.order import shuffled


@pytest.mark.parametrize("num_samples", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_every_epoch_holds_each_sample_once(num_samples):
    for epoch in range(3):
        assert sorted(shuffled(num_samples, 7, epoch * num_samples, num_samples)) == list(range(num_samples))


def test_a_position_holds_the_same_sample_however_it_is_read():
    whole = shuffled(100, seed=3, start=0, count=350)
    in_parts = np.concatenate([shuffled(100, 3, start, 7) for start in range(0, 350, 7)])
    assert (whole == in_parts).all()
    assert (shuffled(100, 3, 123, 50) == whole[123:173]).all()


def test_epochs_and_seeds_differ():
    first, second = shuffled(1000, 0, 0, 1000), shuffled(1000, 0, 1000, 1000)
    other = shuffled(1000, 1, 0, 1000)
    assert (first == second).sum() < 15  # one is expected by chance; 15 has probability 1e-12
    assert (first == other).sum() < 15


def test_the_order_looks_random():
    """Neighbours in the order are no neighbours in the set; no trace of the unshuffled order is left."""
    order = shuffled(10_000, 0, 0, 10_000)
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05  # five standard deviations
    steps = np.abs(np.diff(order))
    assert abs(steps.mean() - 10_000 / 3) < 150  # the mean distance of two random places is n/3


def test_no_samples_and_negative_positions_are_refused():
    with pytest.raises(ValueError, match="is the data set empty"):
        shuffled(0, 0, 0, 1)
    with pytest.raises(ValueError, match="positions"):
        shuffled(5, 0, -1, 1)
