"""WISE: categories by number, weights, and what cannot be read."""

from __future__ import annotations

from itertools import pairwise

import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.drawing.wise import LEGACY, VERIFIED

SCORER = SCORERS["wise"]


def verdicts(right):
    return [{"prompt_id": number, "score": int(right(number))} for number in range(1, 1001)]


@pytest.mark.parametrize("categories", [LEGACY, VERIFIED])
def test_categories_cover_all_prompts_and_weights_sum_to_one(categories):
    ends = [(each.first, each.last) for each in categories.values()]
    assert ends[0][0] == 1
    assert ends[-1][1] == 1000
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(ends))
    assert sum(each.weight for each in categories.values()) == pytest.approx(1)


def test_one_category_counts_by_its_weight():
    metrics = SCORER.score(verdicts(lambda number: 521 <= number <= 640)).metrics()
    assert metrics == pytest.approx(dict.fromkeys(VERIFIED, 0) | {"space": 1, "overall": 0.12})


def test_three_marks_make_a_legacy_score():
    marks = {"consistency": 2, "realism": 1, "aesthetic_quality": 0}
    records = [{"prompt_id": number, **marks} for number in range(1, 1001)]
    metrics = SCORER.score(records, "legacy").metrics()
    assert metrics == pytest.approx(dict.fromkeys([*LEGACY, "overall"], 0.8))


def test_replies_nobody_could_read_and_broken_pictures_are_wrong_and_counted():
    records = verdicts(lambda number: True)
    records[0] = {"prompt_id": 1, "score": None}
    records[1] = {"prompt_id": 2, "failed": "no picture"}
    scored = SCORER.score(records)
    assert (scored.unparsed, scored.failed) == (1, 1)
    assert scored.metrics()["culture"] == pytest.approx(398 / 400)


def test_what_is_missing_is_refused_or_counted():
    records = verdicts(lambda number: True)[:400]
    with pytest.raises(ValueError, match="wise prompts: expected 1000, got 400; missing 401, 402"):
        SCORER.score(records)
    scored = SCORER.score(records, allow_missing=True)
    assert scored.left_out == {"missing prompts": 600}
    assert scored.metrics() == {"culture": 1}  # without the others there is no overall


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt_id": 1, "score": 2}, "prompt 1: score: expected one of 0, 1, got 2"),
        ({"prompt_id": 1, "score": "1"}, "prompt 1: score: expected int or float or NoneType, got '1'"),
        ({"prompt_id": "1", "score": 1}, "prompt_id: expected int"),
        ({"prompt_id": 1001, "score": 1}, "got 1001"),
        ({"prompt_id": 2, "score": 1}, "several of 2"),
        ({"prompt_id": 1}, "expected a field 'score'"),
    ],
)
def test_bad_records_are_named(record, said):
    with pytest.raises(ValueError, match=said):
        SCORER.score([record, *verdicts(bool)[1:]])
    with pytest.raises(ValueError, match="expected records, got none"):
        SCORER.score([])
