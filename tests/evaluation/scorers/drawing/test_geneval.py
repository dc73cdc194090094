"""GenEval's summary: what it means, and what it refuses."""

from __future__ import annotations

import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.drawing.geneval import PROMPTS

SCORER = SCORERS["geneval"]
SMALL = dict.fromkeys(PROMPTS, 2)
DOG = {"class": "dog", "box": [0, 0, 10, 10], "score": 0.95}


def pictures(prompts=SMALL, images=4, wrong=lambda tag, prompt, image: False):
    """Return a record for each picture: one dog was asked for, and it is there unless it is wrong."""
    return [
        {
            "image": f"{tag}/{prompt}/{image}",
            "metadata": {
                "tag": tag,
                "include": [{"class": "dog", "count": 1}],
                "prompt": f"dog {prompt} of {tag}",
            },
            "detections": [] if wrong(tag, prompt, image) else [DOG],
        }
        for tag, count in prompts.items()
        for prompt in range(count)
        for image in range(images)
    ]


def score(records, **options):
    return SCORER.score(records, **{"prompts": SMALL} | options)


def test_the_whole_benchmark_has_553_prompts_and_2212_pictures():
    assert sum(PROMPTS.values()) == 553
    records = pictures(PROMPTS)
    assert len(records) == 2212
    assert set(SCORER.score(records).metrics().values()) == {1}


def test_overall_is_the_mean_of_tasks_and_not_of_pictures():
    prompts = SMALL | {"counting": 6}
    scored = score(pictures(prompts, wrong=lambda tag, *_: tag == "counting"), prompts=prompts)
    metrics = scored.metrics()
    assert metrics["counting"] == 0
    assert metrics["overall"] == pytest.approx(5 / 6)
    assert metrics["image_accuracy"] == pytest.approx(10 / 16)


def test_a_prompt_is_right_if_any_of_its_pictures_is():
    scored = score(pictures(wrong=lambda tag, prompt, image: image > 0 or (tag == "colors" and prompt == 0)))
    metrics = scored.metrics()
    assert metrics["prompt_accuracy"] == pytest.approx(11 / 12)
    assert metrics["image_accuracy"] == pytest.approx(11 / 48)
    assert len(set(scored.groups)) == 12


def test_order_does_not_matter():
    records = pictures(wrong=lambda tag, prompt, image: (prompt + image) % 3 == 0)
    assert score(records[::-1]).metrics() == pytest.approx(score(records).metrics())


def test_a_picture_that_could_not_be_judged_is_wrong_and_counted():
    records = pictures()
    records[0] = {"image": records[0]["image"], "metadata": records[0]["metadata"], "failed": "truncated"}
    scored = score(records)
    assert scored.failed == 1
    assert scored.metrics()["single_object"] == pytest.approx(7 / 8)


def test_thresholds_are_options():
    records = pictures()
    assert score(records, threshold=0.95).metrics()["colors"] == 0
    assert score(records, threshold=0.95).metrics()["counting"] == 1
    assert score(records, counting_threshold=0.95).metrics()["counting"] == 0


def test_results_of_the_official_script_are_read():
    rows = [
        {"filename": r["image"], "metadata": str(r["metadata"]).replace("'", '"'), "correct": bool(i % 4)}
        for i, r in enumerate(pictures())
    ]
    assert score(rows, protocol="verdicts").metrics()["overall"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows + rows[:1], "geneval pictures: expected one record each, got several of"),
        (lambda rows: rows[1:], "each, got fewer pictures of 'dog 0 of single_object'; score what"),
        (lambda rows: rows[4:], "single_object: 1 of 2 prompts"),
        (lambda rows: [r for r in rows if r["metadata"]["tag"] != "counting"], "counting: 0 of 2 prompts"),
        (lambda rows: rows + pictures({"colors": 3})[8:], "at most 12 prompts.*got colors: 3 of 2 prompts"),
        (lambda rows: rows + pictures({"colors": 1}, 5)[4:], "got more than 4 of 'dog 0 of colors'$"),
        (lambda rows: [], "expected records, got none"),
        (
            lambda rows: [{**rows[0], "metadata": {**rows[0]["metadata"], "tag": "color"}}],
            "did you mean 'colors'",
        ),
        (lambda rows: [{**rows[0], "metadata": "{"}], "metadata: expected JSON, got '{'"),
        (lambda rows: [{**rows[0], "metadata": "[]"}], "metadata: expected a JSON object"),
        (lambda rows: [{"image": "a", "metadata": rows[0]["metadata"]}], "expected a field 'detections'"),
        (lambda rows: [{**rows[0], "detections": [{**DOG, "box": [1, 2, 3]}]}], "of 4 numbers and a score"),
        (lambda rows: [{**rows[0], "detections": [{**DOG, "score": None}]}], "and a score, got .*None"),
        (lambda rows: [{**rows[0], "detections": [{**DOG, "score": float("nan")}]}], "expected finite"),
        (lambda rows: [{**rows[0], "detections": [{"box": []}]}], "expected detections with a class"),
    ],
)
def test_bad_records_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        score(change(pictures()))


def test_what_is_missing_is_counted_where_it_is_allowed():
    records = [r for r in pictures() if r["metadata"]["tag"] != "counting"][2:]
    scored = score(records, allow_missing=True)
    assert scored.left_out == {"missing pictures": 10}
    assert "overall" not in scored.metrics()  # of five tasks it would be another number
    assert scored.metrics()["image_accuracy"] == 1
