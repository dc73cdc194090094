"""What scorers of answers refuse, and what they count."""

from __future__ import annotations

import pytest

from tests.evaluation.scorers.answering.made import CHOICES, PROTOCOLS, YES_NO, records
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.answering import TABLE


def refused(bench: str, changed: list, said: str, **options) -> None:
    with pytest.raises(ValueError, match=said):
        SCORERS[bench].score(changed, **options)


@pytest.mark.parametrize("bench", TABLE)
def test_a_record_twice_is_an_error(bench):
    made = records(bench)
    refused(bench, [*made, made[3]], "record 25: the id '3' stands twice")


@pytest.mark.parametrize("bench", TABLE)
@pytest.mark.parametrize("gold", [None, 7, [], ["red", 3]])
def test_a_gold_answer_that_is_missing_or_no_answer_is_an_error(bench, gold):
    made = records(bench)
    refused(bench, [{**made[0], "gold": gold}, *made[1:]], r"record 1 \(id '0'\)|id '0'")


@pytest.mark.parametrize("bench", TABLE)
@pytest.mark.parametrize("prediction", [None, 3, ["A"]])
def test_an_answer_that_is_no_text_is_an_error(bench, prediction):
    made = records(bench)
    refused(bench, [{**made[0], "prediction": prediction}, *made[1:]], "prediction: expected text")


@pytest.mark.parametrize("bench", TABLE)
def test_no_records_are_an_error(bench):
    refused(bench, [], "expected one or more answers")


@pytest.mark.parametrize("bench", TABLE)
def test_what_is_no_record_is_an_error(bench):
    refused(bench, ["yes"], "record 1: expected named fields, got str")
    refused(bench, [{"prediction": "yes", "gold": "yes"}], "record 1: id: expected text or a whole number")


@pytest.mark.parametrize(("bench", "protocol"), PROTOCOLS)
def test_a_failure_is_wrong_and_counted(bench, protocol):
    made = records(bench)
    right = [{**record, "prediction": _right(record)} for record in made]
    broken = [{key: x for key, x in right[0].items() if key != "prediction"} | {"error": "no picture"}]
    before = SCORERS[bench].score(right, protocol)
    after = SCORERS[bench].score([*broken, *right[1:]], protocol)
    assert (before.failed, before.unparsed) == (0, 0)
    assert (after.failed, after.unparsed) == (1, 0)
    assert len(after.values) == len(before.values)
    assert before.values.sum() > after.values.sum()


def _right(record):
    gold = record["gold"]
    return gold if isinstance(gold, str) else gold[0]


@pytest.mark.parametrize("bench", [*CHOICES, *YES_NO])
def test_what_nobody_can_read_is_wrong_and_counted(bench):
    made = [{**record, "prediction": "..."} for record in records(bench)]
    scored = SCORERS[bench].score(made)
    if bench == "pope":  # the official rule takes everything that is not no for yes
        assert (scored.unparsed, scored.metrics()["yes_ratio"]) == (0, 1.0)
        return
    assert scored.unparsed == len(made)
    assert scored.metrics()["accuracy"] == 0


def test_a_choice_has_its_letter_among_its_options():
    made = records("ai2d")
    refused("ai2d", [{**made[0], "options": ["red"], "gold": "B"}], "gold: expected one of A, got 'B'")
    refused("mmmu", [{**made[0], "options": ["red"], "gold": "B"}], "gold: expected one of A, got 'B'")
    refused("ai2d", [{**made[0], "options": "red"}], "options: expected a list of texts")
    refused("ai2d", [{**made[0], "options": []}], "options: expected 1 to 26, got 0")


def test_ten_annotators_are_needed_for_textvqa():
    refused("textvqa", [{"id": 1, "gold": ["red"] * 9, "prediction": "red"}], "10 annotators, got 9")


def test_an_incomplete_pair_is_an_error():
    refused("mme", records("mme")[1:], "picture 'i0' of count: expected 2 questions, got 1")
    refused("mmvp", records("mmvp")[1:], "pair 0: expected 2 questions, got 1")


def test_a_missing_rotation_is_an_error():
    refused("mmbench", records("mmbench")[1:], "expected 4 rotations of its source, got 3")


def test_a_subtask_unknown_to_mme_is_an_error():
    made = [{**record, "category": "cnt"} for record in records("mme")]
    refused("mme", made, "category: expected one of existence, count")


def test_fields_of_single_scorers_are_needed():
    without = [{key: x for key, x in record.items() if key != "has_image"} for record in records("scienceqa")]
    refused("scienceqa", without, "has_image: expected true or false")
    without = [{key: x for key, x in record.items() if key != "source"} for record in records("mmbench")]
    refused("mmbench", without, "source: expected what its rotations share")
    without = [{key: x for key, x in record.items() if key != "subcategory"} for record in records("mmstar")]
    refused("mmstar", without, "expected texts under category and subcategory", protocol="lmms_eval")
