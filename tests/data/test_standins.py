"""unimm.data.standins: the next sample that can be used is taken, and who was passed over is told."""

from __future__ import annotations

import pytest

from unimm.data.samples import BrokenSample
from unimm.data.standins import MAX_REPLACED, Skipped, Spot, Unusable, first_usable


def spot_after(number: int) -> Spot:
    return Spot(1, number // 3, number % 3)


def usable_from(number: int, error=BrokenSample):
    def use(spot: Spot) -> str:
        if 3 * spot.shard + spot.row < number:
            raise error(f"k{spot.shard}/{spot.row}", "expected words, got none", "text")
        return f"made of {spot.shard}/{spot.row}"

    return use


def test_a_sample_that_can_be_used_is_used():
    assert first_usable(7, spot_after, usable_from(0), ("a", "b")) == ("made of 0/0", ())


@pytest.mark.parametrize("error", [BrokenSample, Unusable])
def test_the_next_stands_in_and_those_before_it_are_told(error):
    used, skipped = first_usable(7, spot_after, usable_from(4, error), ("a", "b"))
    assert used == "made of 1/1"
    assert skipped == tuple(
        Skipped(7, "b", shard, row, f"k{shard}/{row}", "text", "expected words, got none")
        for shard, row in [(0, 0), (0, 1), (0, 2), (1, 0)]
    )


def test_the_last_that_is_tried_may_be_used_but_no_later_one():
    assert len(first_usable(0, spot_after, usable_from(MAX_REPLACED - 1), ("a", "b"))[1]) == MAX_REPLACED - 1
    with pytest.raises(
        ValueError,
        match="data.path: none of 100 samples from position 9 on can be used; the last: k33/0: expected "
        "words, got none; `unimm data doctor b` says",
    ):
        first_usable(9, spot_after, usable_from(MAX_REPLACED), ("a", "b"), "data.path")


def test_other_errors_are_not_skipped():
    def use(spot: Spot):
        raise ValueError("of the program")

    with pytest.raises(ValueError, match="of the program"):
        first_usable(0, spot_after, use, ("a", "b"))
