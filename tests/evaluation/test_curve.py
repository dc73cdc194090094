"""The curve of best of N: candidates are drawn once, and a verifier gains what it knows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.evaluation.painter import ORACLES, Painter, draw, plan_of
from tests.evaluation.pretend import anything
from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.curve import curve, draw_candidates, numbers_of, table, write_curve
from unimm.evaluation.run import model_facts
from unimm.evaluation.session import Options
from unimm.world.staging import scene_for

WORLD, COUNTS = BENCHMARKS["world"], (1, 2, 4)


def now_and_then(spec, rng):
    """Obey one prompt in three."""
    return scene_for(spec, rng) if rng.random() < 1 / 3 else anything(spec, rng)


def drawn(folder, model, verifiers=("answer_logits", "prompt_confidence"), limit=12):
    plan = plan_of(source=Source(limit=limit), samples=4, verifiers=verifiers, batch_size=8)
    draw_candidates(model, plan, folder, model_facts(model, "painter"))
    return plan


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    model = Painter(now_and_then)
    plan = drawn(folder, model, limit=24)
    return curve(WORLD, folder, plan.prompts, ORACLES, Options({}), COUNTS), model, folder, plan


def test_candidates_are_drawn_once(found):
    _, model, folder, plan = found
    assert model.drawn == 96
    again = Painter(now_and_then)
    draw_candidates(again, replace(plan), folder, model_facts(again, "painter"))
    assert again.drawn == 0
    assert len((folder / "scores.jsonl").read_text().splitlines()) == 192
    assert len((folder / "records.jsonl").read_text().splitlines()) == 96


def test_a_good_verifier_gains_and_follows_the_oracle_and_a_random_one_does_not(found):
    scores = found[0].scores
    good = [scores["answer_logits"][n].mean for n in COUNTS]
    assert good == sorted(good)
    assert good[-1] > good[0] + 0.2
    assert found[0].gains["answer_logits"][4].low > 0
    assert found[0].gains["prompt_confidence"][4].high < found[0].gains["answer_logits"][4].high
    assert {line[1].mean for line in scores.values()} == {good[0]}
    assert scores["oracle"][4].mean >= good[-1] - 0.05  # the world's own rules judge backgrounds too


def test_every_candidate_is_used_for_every_n(found):
    assert [found[0].scores["oracle"][n].n for n in COUNTS] == [96, 48, 24]


def test_several_pictures_of_a_prompt_are_several_blocks_of_candidates(found):
    _, _, folder, plan = found
    two = curve(WORLD, folder, plan.prompts, ORACLES, Options({}), (1, 2), samples=2)
    assert [two.scores["oracle"][n].n for n in (1, 2)] == [96, 48]
    assert two.scores["oracle"][2] == found[0].scores["oracle"][2]
    assert "24 prompts, 4 candidates each" in table(two)


def test_candidates_are_those_of_best_of_in_an_ordinary_run(found, tmp_path):
    _, _, folder, plan = found
    ordinary = plan_of(source=Source(limit=24), samples=1)
    draw(Painter(now_and_then), ordinary, tmp_path)
    first = (folder / "samples" / "00003" / "00000.png").read_bytes()
    assert (tmp_path / "images" / "00003" / "samples" / "00000.png").read_bytes() == first


def test_the_curve_is_printed_and_written(found):
    curve_, _, folder, _ = found
    text = table(curve_)
    assert "best of 4" in text
    assert "oracle" in text
    assert "24 prompts, 4 candidates each, 0 without a score" in text
    paths = write_curve(folder, curve_)
    assert [path.name for path in paths] == ["curve.json", "curve.png"]
    value = json.loads(paths[0].read_text())
    assert value["scores"]["answer_logits"]["4"]["mean"] == curve_.scores["answer_logits"][4].mean
    assert value["generation"]["verifiers"] == ["answer_logits", "prompt_confidence"]


class Unsure(Painter):
    """A model whose verdict on every other candidate is not a number."""

    def verify(self, images, prompts, verifier):
        scores = super().verify(images, prompts, verifier)
        return [float("nan") if place % 2 else score for place, score in enumerate(scores)]


def test_a_score_that_is_no_number_loses_and_is_counted(tmp_path):
    plan = drawn(tmp_path, Unsure(), ("answer_logits",), limit=6)
    found = curve(WORLD, tmp_path, plan.prompts, ORACLES, Options({}), COUNTS)
    assert found.unscored == 12
    assert "12 without a score" in table(found)


def test_missing_scores_are_refused(tmp_path):
    plan = drawn(tmp_path, Painter(), ("answer_logits",), limit=6)
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    with pytest.raises(ValueError, match="4 candidates have no score of answer_logits"):
        curve(WORLD, tmp_path, plan.prompts, ORACLES, Options({}), COUNTS)


@pytest.mark.parametrize(
    ("text", "counts"), [("1,2,4,8", (1, 2, 4, 8)), ("8,2", (1, 2, 8)), ("6, 3", (1, 3, 6)), ("1", (1,))]
)
def test_numbers_of_candidates_are_read(text, counts):
    assert numbers_of(text) == counts


@pytest.mark.parametrize("text", ["", "0,2", "two", "3,4", "1,-2"])
def test_bad_numbers_of_candidates_are_refused(text):
    with pytest.raises(ValueError, match="--best-of: expected numbers"):
        numbers_of(text)
