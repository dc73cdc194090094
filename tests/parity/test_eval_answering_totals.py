"""Scores of whole sets of answers, against recorded outputs of the public harnesses' own code."""

from __future__ import annotations

import pytest

from unimm.evaluation.scorers import SCORERS

MME_NAMES = {"Perception": "perception", "Cognition": "cognition", "accuracy": "accuracy"}
LMMS_MME_NAMES = {"mme_perception_score": "perception", "mme_cognition_score": "cognition"}


def cases(recorded, group: str | None = None) -> list[dict]:
    found = [case for case in recorded.value["cases"] if group is None or case.get("group") == group]
    assert found, f"{recorded.name}: no cases of {group}"
    return found


def close(recorded, value: float):
    return pytest.approx(value, abs=recorded.value["meta"].get("tol", 1e-9))


def mme_records(case: dict) -> list[dict]:
    return [
        {
            "id": number,
            "image": record["image"],
            "category": record["category"],
            "gold": record["gt"],
            "prediction": record["response"],
        }
        for number, record in enumerate(case["records"])
    ]


@pytest.mark.parity("eval/mme_*")
def test_official_mme_is_as_recorded(recorded):
    for case in cases(recorded, "aggregate"):
        got = SCORERS["mme"].score(mme_records(case), "official").metrics()
        wanted = case["expected"]["official"]
        wanted = {"perception": wanted["Perception"], "cognition": wanted["Cognition"], **wanted["per_task"]}
        assert {name: got[name] for name in wanted} == close(recorded, wanted), case["id"]


@pytest.mark.parity("eval/mme_*")
def test_mme_of_lmms_eval_is_as_recorded(recorded):
    for case in cases(recorded, "aggregate"):
        got = SCORERS["mme"].score(mme_records(case), "lmms_eval").metrics()
        wanted = {LMMS_MME_NAMES[name]: value for name, value in case["expected"]["lmms_eval"].items()}
        assert {name: got[name] for name in wanted} == close(recorded, wanted), case["id"]


@pytest.mark.parity("eval/mme_*")
def test_mme_of_cambrian_is_as_recorded(recorded):
    for case in cases(recorded, "aggregate"):
        got = SCORERS["mme"].score(mme_records(case), "cambrian").metrics()
        wanted = {MME_NAMES[name]: value for name, value in case["expected"]["cambrian"].items()}
        wanted["accuracy"] /= 100  # ours are shares
        assert {name: got[name] for name in wanted} == close(recorded, wanted), case["id"]


def pope_records(case: dict) -> list[dict]:
    pairs = zip(case["labels"], case["responses"], strict=True)
    return [{"id": at, "gold": gold, "prediction": said} for at, (gold, said) in enumerate(pairs)]


@pytest.mark.parity("eval/pope_*")
def test_official_pope_is_as_recorded(recorded):
    for case in cases(recorded, "aggregate"):
        records, wanted = pope_records(case), case["expected"]["official"]
        got = SCORERS["pope"].score(records, "official").metrics()
        if wanted == "ZeroDivisionError":  # upstream divides by zero where nothing was rightly called yes
            assert got["f1"] == 0, case["id"]
            continue
        n = len(records)
        counts = {
            "TP": got["true_positive"] * n,
            "FP": got["false_positive"] * n,
            "FN": got["false_negative"] * n,
            "TN": (got["accuracy"] - got["true_positive"]) * n,
        }
        assert {**got, **counts} | wanted == close(recorded, {**got, **counts}), case["id"]


@pytest.mark.parity("eval/pope_*")
def test_pope_of_lmms_eval_is_as_recorded(recorded):
    for case in cases(recorded, "aggregate"):
        got = SCORERS["pope"].score(pope_records(case), "lmms_eval").metrics()
        wanted = {
            "f1" if name == "f1_score" else name: x for name, x in case["expected"]["lmms_eval"].items()
        }
        assert {name: got[name] for name in wanted} == close(recorded, wanted), case["id"]


@pytest.mark.parity("eval/mmbench_circular_*")
def test_circular_mmbench_is_as_recorded(recorded):
    for case in cases(recorded):
        records = [
            {
                "id": number,
                "source": record["source_id"],
                "category": record["category"],
                "gold": record["gt_answer"],
                "prediction": record["prediction"],
            }
            for number, record in enumerate(case["records"])
        ]
        scored = SCORERS["mmbench"].score(records, "cambrian")
        got = scored.metrics()
        wanted = case["expected"]
        assert got["accuracy"] == close(recorded, wanted["accuracy"]), case["id"]
        assert got["circular_accuracy"] == close(recorded, wanted["circular_accuracy"]), case["id"]
        assert scored.tasks.count("accuracy") == wanted["total_count"], case["id"]
        assert scored.tasks.count("circular_accuracy") == wanted["circular_count"], case["id"]


@pytest.mark.parity("eval/mmvp_pairs_*")
def test_pairs_of_mmvp_are_as_recorded(recorded):
    for case in cases(recorded):
        records = [
            {
                "id": record["question_id"],
                "pair": record["question_id"] // 2,
                "gold": record["gt_answer"].strip("()"),
                "options": record["text_options"],
                "prediction": record["answer"],
            }
            for record in case["records"]
        ]
        got = SCORERS["mmvp"].score(records, "cambrian").metrics()
        assert 100 * got["pair_accuracy"] == close(recorded, case["expected"]["accuracy"]), case["id"]
