"""Scores of drawings and of pictures against numbers recorded from the official scorers."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest

from unimm.evaluation.metrics.frechet import Moments, frechet_distance, moments
from unimm.evaluation.metrics.pictures import psnr, ssim
from unimm.evaluation.scorers.drawing import dpg, geneval, geneval_rules, wise
from unimm.evaluation.scorers.drawing.dpg_questions import read_questions
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


@pytest.mark.parity("eval/dpg_aggregate_*")
def test_dpg_scores(recorded, tmp_path):
    rows, tol = cases(recorded)
    for case in rows:
        table = read_questions(write_csv(tmp_path / "dpg_bench.csv", case))
        records = [
            {"item_id": item, "answers": answers}
            for item, answers in case["answers"].items()
            if item not in case["images_missing"]
        ]
        scored = dpg.SCORER.score(records, "official", questions=table, pictures=case["pic_num"])
        wanted = case["expected"]
        expected = {"overall": wanted["dpg_score"]}
        expected |= {f"{level} {name}": x for level in ("L1", "L2") for name, x in wanted[level].items()}
        assert scored.metrics() == near(expected, tol), case["id"]
        overall = [i for i, task in enumerate(scored.tasks) if task == "overall"]
        averages = {scored.groups[i]: scored.values[i] / 100 for i in overall}
        assert averages == near({i: x["average"] for i, x in wanted["per_image"].items()}, tol), case["id"]
        lost = [name for name in scored.left_out if name.startswith("items")]
        assert sum(scored.left_out[name] for name in lost) == len(wanted["failed_items"]), case["id"]
        assert scored.left_out.get("missing items", 0) == len(case["images_missing"]), case["id"]


def write_csv(path, case):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([case["csv_columns"], *case["csv_rows"]])
    return path


@pytest.mark.parity("eval/wise_score_*")
def test_wise_scores(recorded):
    rows, tol = cases(recorded)
    protocols = {"legacy": wise.LEGACY, "verified": wise.VERIFIED}
    for name, ranges in recorded.value["meta"]["id_ranges"].items():
        ours = {category: [each.first, each.last] for category, each in protocols[name].items()}
        assert ours == {category.lower(): ends for category, ends in ranges.items()}
    for case in rows:
        if case["group"] == "overall":
            means = {name.lower(): np.array([mean]) for name, mean in case["category_means"].items()}
            ours = {name: wise.overall(table, means)["overall"][0] for name, table in protocols.items()}
            assert ours == near(case["expected"], tol), case["id"]
        else:
            assert case["group"] == "legacy_sample"
            marks = (case[name] for name in ("consistency", "realism", "aesthetic"))
            assert wise.wiscore(*marks) == near(case["expected"], tol), case["id"]


@pytest.mark.parity("eval/frechet_distance_*")
def test_frechet_distances(recorded):
    tol = recorded.value["meta"]["tol_abs"]
    for case in cases(recorded)[0]:
        recorded_moments = [
            Moments(np.array(case[f"mu_{side}"]), np.array(case[f"sigma_{side}"])) for side in "ab"
        ]
        assert frechet_distance(*recorded_moments) == near(case["expected"], tol), case["id"]
        for ours, theirs, side in zip(
            (moments(np.array(case[f"features_{side}"])) for side in "ab"),
            recorded_moments,
            "ab",
            strict=True,
        ):
            np.testing.assert_allclose(ours.mean, theirs.mean, atol=tol, err_msg=case["id"] + side)
            np.testing.assert_allclose(ours.covariance, theirs.covariance, atol=tol, err_msg=case["id"])


@pytest.mark.parity("eval/psnr_ssim_*")
def test_psnr_and_ssim(recorded):
    rows, tol = cases(recorded)
    for case in rows:
        pair = [np.array(case[side], np.uint8).reshape(1, *case["shape"]) for side in "ab"]
        ours = {
            "psnr": psnr(*pair)[0],
            "mse": np.square(np.subtract(*(each.astype(float) for each in pair))).mean(),
            "ssim_gaussian_11_1.5": ssim(*pair, "gaussian")[0],
            "ssim_uniform7_default": ssim(*pair, "uniform")[0],
        }
        assert ours == near({name: float(value) for name, value in case["expected"].items()}, tol), case["id"]
