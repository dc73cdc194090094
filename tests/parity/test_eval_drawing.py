"""Scores of drawings and of pictures against numbers recorded from the official scorers."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from unimm.evaluation.scorers.drawing import geneval, geneval_rules
from unimm.evaluation.scorers.drawing.geneval_rules import Rules


def cases(recorded):
    """Return the cases of a file and its tolerance."""
    assert recorded.value["cases"]
    return recorded.value["cases"], recorded.value["meta"].get("tol", 1e-9)


def near(value, tol):
    return pytest.approx(value, abs=tol, rel=0)


@pytest.mark.parity("eval/geneval_iou_*")
def test_geneval_overlaps(recorded):
    rows, tol = cases(recorded)
    for case in rows:
        assert geneval_rules.iou(case["box_a"], case["box_b"]) == near(case["expected"], tol), case["id"]


@pytest.mark.parity("eval/geneval_relative_position_*")
def test_geneval_positions(recorded):
    for case in cases(recorded)[0]:
        boxes = case["box_a"], case["box_b"]
        found = geneval_rules.relative_position(*boxes, case["position_threshold"])
        assert sorted(found) == sorted(case["expected"]), case["id"]


@pytest.mark.parity("eval/geneval_rules_*")
def test_geneval_verdicts(recorded):
    defaults = recorded.value["meta"]["defaults"]
    assert Rules(**defaults) == Rules()
    for case in cases(recorded)[0]:
        rules = Rules(**case["options"])
        record = {"image": case["id"], **{key: case[key] for key in ("metadata", "detections")}}
        verdict = geneval.judge_record(record, rules)
        assert verdict.correct == case["expected"]["correct"], case["id"]
        assert verdict.reason == case["expected"]["reason_sorted_relations"], case["id"]
        assert kept_boxes(case, rules) == case["expected"]["kept"], case["id"]


def kept_boxes(case, rules):
    """Return the boxes and scores kept of every class that was detected, for a case."""
    kept = {}
    for name in {each["class"] for each in case["detections"]}:
        rows = np.array([[*d["box"], d["score"]] for d in case["detections"] if d["class"] == name])
        chosen = geneval_rules.select(rows[:, :4], rows[:, 4], case["metadata"]["tag"], rules)
        kept |= {name: rows[chosen].tolist()} if len(chosen) else {}
    return kept


@pytest.mark.parity("eval/geneval_summary_*")
def test_geneval_summaries(recorded):
    rows, tol = cases(recorded)
    for case in rows:
        records = [{"image": str(i), **row} for i, row in enumerate(case["rows"])]
        prompts = Counter(json.loads(text)["tag"] for text in {row["metadata"] for row in records})
        scored = geneval.SCORER.score(records, "verdicts", prompts=prompts, allow_missing=True, images=99)
        wanted = case["expected"]
        totals = {"image_accuracy": "image_acc", "prompt_accuracy": "prompt_acc_any", "overall": "overall"}
        expected = wanted["task"] | {ours: wanted[theirs] for ours, theirs in totals.items()}
        assert scored.metrics() == near(expected, tol), case["id"]
        counts = Counter(scored.tasks)
        assert counts["image_accuracy"] == wanted["images"]
        assert counts["prompt_accuracy"] == wanted["prompts"]
