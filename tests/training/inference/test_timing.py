"""unimm.training.inference.timing: what is run, in turn, and what is made of it."""

from __future__ import annotations

import pytest

from tests.model.small import small_model
from unimm.training.inference.stopwatch import STAGES
from unimm.training.inference.timing import PROMPTS, InferencePlan, Timed, time_choosing, time_drawing

PLAN = InferencePlan(batches=(1, 2), candidates=(3,), steps=2, best_steps=2, repeats=2, clock="cpu")


def test_medians_and_rates_by_hand():
    timed = Timed("4 at once", lambda: None, 4, peak=7)
    timed.stages = [{"prefill": 1.0, "draw": 3.0}, {"prefill": 2.0, "draw": 6.0}, {"draw": 100.0}]
    facts = timed.facts()
    assert (facts["seconds"], facts["images_per_second"], facts["peak_bytes"]) == (8.0, 0.5, 7)
    assert facts["stages"] == {"prefill": 0.25, "draw": 1.5, "judge": 0, "decode": 0, "encode": 0}


def test_batches_are_held_against_the_dit_and_against_one_at_a_time():
    told = []
    one, two = time_drawing(small_model(), PLAN, told.append)
    assert (one["name"], two["name"]) == ("1 at once", "2 at once")
    assert one["over_single"] == 1
    assert all(row["of_dit"] > 0 and row["peak_bytes"] > 0 for row in (one, two))
    assert two["peak_bytes"] > one["peak_bytes"]
    assert all(two["stages"][stage] > 0 for stage in ("prefill", "draw", "decode"))
    assert two["stages"]["judge"] == two["stages"]["encode"] == 0
    assert [told.count(f"2 at once, round {turn} of 2") for turn in (1, 2)] == [1, 1]


def test_choices_are_held_against_the_naive_order():
    model, evaluations = small_model(), []
    model.dit.register_forward_hook(lambda room, inputs, out: evaluations.append(len(out)))
    [row] = time_choosing(model, PLAN, lambda what: None)
    assert evaluations == [3, *[1] * 3, *[3, 3, *[1] * 6] * 2], "warm-up by one step, then rounds in turn"
    assert row["ratio"] > 0
    assert row["judging"] > 0
    assert row["naive"]["name"] == "naive best of 3"
    assert all(row["naive"]["stages"][stage] > 0 for stage in STAGES)
    assert row["stages"]["encode"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": (1, 0)}, "batches: expected numbers from 1 to 48, got 0"),
        ({"candidates": (49,)}, "candidates: expected numbers from 1 to 48, got 49"),
        ({"best_steps": 0}, "steps: expected 1 or more, got 0"),
        ({"repeats": 0}, "repeats: expected 1 or more, got 0"),
        ({"clock": "sun"}, "clock: expected"),
    ],
)
def test_a_plan_that_measures_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        InferencePlan(**change)


def test_no_two_prompts_are_the_same():
    assert len(set(PROMPTS)) == len(PROMPTS)
