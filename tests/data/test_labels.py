"""unimm.data.labels: equal shares, the ranks' blocks, refusals."""

from __future__ import annotations

import pytest
import torch

from unimm.data.labels import balanced_labels


def all_ranks(num_ranks, **sizes):
    return torch.cat(
        [balanced_labels(rank=r, num_ranks=num_ranks, **sizes).flatten() for r in range(num_ranks)]
    )


def test_every_class_comes_equally_often_among_the_counted():
    labels = all_ranks(3, num_classes=7, num_samples=28, batch_size=4, seed=2)
    assert len(labels) == 36
    assert labels[:28].bincount().tolist() == [4] * 7
    assert labels.max() < 7


def test_the_shuffle_depends_on_the_seed_and_not_on_the_ranks():
    sizes = {"num_classes": 6, "num_samples": 24, "batch_size": 4}
    one, two = all_ranks(1, **sizes, seed=1), all_ranks(2, **sizes, seed=1)
    assert torch.equal(one, two)
    assert not torch.equal(one, all_ranks(1, **sizes, seed=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 25}, "expected a multiple of num_classes 6 for equal shares, got 25; use 24"),
        ({"num_samples": 5}, "got 5; use 6"),
        ({"rank": 2, "num_ranks": 2}, "rank: expected 0 to 1, got 2"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
    ],
)
def test_what_cannot_be_shared_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        balanced_labels(**{"num_classes": 6, "num_samples": 24, "batch_size": 4, **change})
