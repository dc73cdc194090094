"""What holds of every scorer of answers, whatever the answers."""

from __future__ import annotations

import random

import pytest

from tests.evaluation.scorers.answering.made import CHOICES, PROTOCOLS, YES_NO, records
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.answering import TABLE


@pytest.mark.parametrize(("bench", "protocol"), PROTOCOLS)
def test_the_order_of_records_does_not_matter(bench, protocol):
    made = records(bench)
    mixed = random.Random(1).sample(made, len(made))
    one, other = (SCORERS[bench].score(each, protocol).metrics() for each in (made, mixed))
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize(("bench", "protocol"), PROTOCOLS)
def test_right_answers_score_all_there_is(bench, protocol):
    made = [
        {**record, "prediction": record["gold"] if isinstance(record["gold"], str) else record["gold"][0]}
        for record in records(bench)
    ]
    metrics = SCORERS[bench].score(made, protocol).metrics()
    top = {"count": 200.0, "perception (1 of 10)": 200.0}
    halves = {"true_positive", "yes_ratio"}
    for name, value in metrics.items():
        kind = name.partition("/")[0]
        wanted = top.get(name, 0.5 if kind in halves else 0.0 if kind.startswith("false") else 1.0)
        assert value == pytest.approx(wanted), name


@pytest.mark.parametrize("protocol", TABLE["mme"].protocols)
@pytest.mark.parametrize("seed", range(5))
def test_pictures_with_both_right_are_no_more_than_right_answers(protocol, seed):
    metrics = SCORERS["mme"].score(records("mme", seed=seed), protocol).metrics()
    assert metrics["count/accuracy+"] <= metrics["count/accuracy"]
    pairs = SCORERS["mmvp"].score(records("mmvp", seed=seed)).metrics()
    assert pairs["pair_accuracy"] <= pairs["accuracy"]


@pytest.mark.parametrize("protocol", TABLE["mmbench"].protocols)
@pytest.mark.parametrize("seed", range(5))
def test_circular_is_no_more_than_plain(protocol, seed):
    metrics = SCORERS["mmbench"].score(records("mmbench", seed=seed), protocol).metrics()
    assert metrics["circular_accuracy"] <= metrics["accuracy"]
    assert metrics["circular_accuracy/x"] <= metrics["accuracy/x"]


def test_a_model_that_always_says_a_has_a_quarter_plain_and_nothing_circular():
    made = [{**record, "prediction": "A"} for record in records("mmbench")]
    metrics = SCORERS["mmbench"].score(made).metrics()
    assert (metrics["accuracy"], metrics["circular_accuracy"]) == (0.25, 0.0)


@pytest.mark.parametrize("bench", [*CHOICES, *YES_NO])
def test_policies_differ_in_unparsed_answers_only(bench):
    made = [{**record, "prediction": "..."} for record in records(bench, 40)]
    protocol = "lmms_eval" if "lmms_eval" in TABLE[bench].protocols else None
    scores = {
        policy: SCORERS[bench].score(made, protocol, unparsed=policy)
        for policy in ("wrong", "first", "random")
    }
    assert {score.unparsed for score in scores.values()} == {len(made)}
    share = 0.5 if bench in (*YES_NO, "mmvp") else 0.25
    accuracy = {policy: score.metrics()["accuracy"] for policy, score in scores.items()}
    assert accuracy["wrong"] == 0
    assert accuracy["first"] == share  # golds go round among the options
    assert 0 < accuracy["random"] < 1
    parsed = [{**record, "prediction": "A" if bench in CHOICES else "yes"} for record in made]
    same = {SCORERS[bench].score(parsed, protocol, unparsed=p).metrics()["accuracy"] for p in scores}
    assert same == {share}


def test_random_is_the_official_stream_of_mmmu():
    made = [{**record, "prediction": "..."} for record in records("mmmu", 40)]
    rng = random.Random(42)  # as `random.seed(42)` at the head of the official parser
    guessed = [rng.choice(["A", "B", "C", "D"]) for _ in made]
    right = sum(guess == record["gold"] for guess, record in zip(guessed, made, strict=True))
    assert SCORERS["mmmu"].score(made, unparsed="random").metrics()["accuracy"] == right / len(made)


def test_there_is_nothing_to_guess_from_for_free_answers():
    with pytest.raises(ValueError, match="unparsed: expected one of wrong, got 'random'"):
        SCORERS["textvqa"].score(records("textvqa"), unparsed="random")
    with pytest.raises(ValueError, match="unparsed: expected one of wrong, random, first, got 'frist'"):
        SCORERS["ai2d"].score(records("ai2d"), unparsed="frist")


def test_questions_about_one_picture_are_one_group():
    for bench in ("mme", "pope", "textvqa", "docvqa", "scienceqa"):
        assert len(set(SCORERS[bench].score(records(bench, 24)).groups)) == 12, bench
    assert len(set(SCORERS["mmbench"].score(records("mmbench", 24)).groups)) == 6
