"""Maps are fitted on one half of the prompts and told of the other; a verifier that knows is believed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.pretend import Pretender, anything
from tests.evaluation.test_command import folder  # noqa: F401  (a random model, saved)
from unimm.app.cli import main
from unimm.evaluation.calibration.command import measure, table
from unimm.evaluation.calibration.measuring import ranking, report_on
from unimm.evaluation.calibration.picture import save_diagrams, wilson
from unimm.evaluation.calibration.settings import Settings
from unimm.model import UniMM
from unimm.model.verifying import VERIFIERS
from unimm.verify.calibrations import read_calibrations
from unimm.world.spec import FAMILIES
from unimm.world.staging import scene_for

ROOT = Path(__file__).resolve().parents[3]


def now_and_then(spec, rng):
    return scene_for(spec, rng) if rng.random() < 0.5 else anything(spec, rng)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    model, out = Pretender(now_and_then), tmp_path_factory.mktemp("out")
    return measure(model, Settings(num_prompts=72, candidates=2), out), model, out


def test_a_verifier_that_knows_is_believed_and_one_that_guesses_is_not(reports):
    found, _, _ = reports
    knows, guesses = found["p_yes"].numbers(), found["prompt_confidence"].numbers()
    assert knows["ranking"] == 1.0
    assert knows["ece_before"] == 0.0
    assert knows["ece_after"] < 0.05, "not certain, as it has seen but a few"
    assert knows["log_loss"] < 0.1 < knows["base_log_loss"]
    assert guesses["ranking"] == pytest.approx(0.5, abs=0.2)
    assert guesses["log_loss"] == pytest.approx(guesses["base_log_loss"], abs=0.15)
    assert guesses["ece_before"] is None
    assert set(found) == set(VERIFIERS)


def test_halves_share_no_prompt_and_are_balanced(reports):
    asked, fitted = Settings(num_prompts=72, candidates=2).asked()
    for half in (True, False):
        mine = [prompt for prompt, fit in zip(asked, fitted, strict=True) if fit == half]
        assert len(mine) == 36
        assert {family: sum(p.spec.family == family for p in mine) for family in FAMILIES} == dict.fromkeys(
            FAMILIES, 6
        )
    found, _, _ = reports
    assert found["p_yes"].n == found["p_yes"].calibration.n == 72
    assert asked == Settings(num_prompts=240).asked()[0][:72]


def test_nothing_of_the_half_that_is_reported_enters_the_map():
    rng = np.random.default_rng(0)
    arrays = {"right": rng.random((40, 3)) < 0.5, "p_yes": rng.random((40, 3))}
    fitted = [place < 20 for place in range(40)]
    first = report_on("p_yes", arrays, fitted, {})
    other = {
        name: np.concatenate([array[:20], ~array[20:] if name == "right" else array[20:]])
        for name, array in arrays.items()
    }
    second = report_on("p_yes", other, fitted, {})
    assert first.calibration == second.calibration
    assert first.ranking == pytest.approx(1 - second.ranking)


def test_scores_that_are_no_numbers_are_left_out_and_counted():
    rng = np.random.default_rng(0)
    arrays = {"right": rng.random((40, 3)) < 0.5, "p_yes": rng.random((40, 3))}
    arrays["p_yes"][[0, 30]] = np.nan
    report = report_on("p_yes", arrays, [place < 20 for place in range(40)], {})
    assert (report.n, report.calibration.n, report.failed) == (57, 57, 6)
    arrays["p_yes"][20:] = np.inf
    with pytest.raises(ValueError, match="p_yes: expected scores that are numbers in both halves"):
        report_on("p_yes", arrays, [place < 20 for place in range(40)], {})


def test_a_run_goes_on_from_what_was_drawn(reports):
    found, model, out = reports
    before = model.drawn
    assert measure(model, Settings(num_prompts=72, candidates=2), out) == found
    assert model.drawn == before == 144


def test_no_drawing_is_that_of_another_prompt_or_of_the_score_card():
    settings = Settings()
    seeds = [settings.first_seed(index) for index in range(settings.num_prompts)]
    assert np.diff(seeds).min() == settings.candidates
    assert min(seeds) >= 10**9


def test_ranking_is_counted_by_hand():
    scores, right = np.array([3.0, 1.0, 2.0, 1.0]), np.array([1, 1, 0, 0])
    assert ranking(scores, right) == (2 + 0.5) / 4
    assert ranking(scores, np.ones(4)) is None


def test_wilson_s_interval_is_that_of_the_book():
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_diagrams_and_the_table_are_made(reports, tmp_path):
    found, _, _ = reports
    assert save_diagrams(tmp_path / "plot.png", found, "a title")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 900
    assert table(found).row_count == len(VERIFIERS)


def test_a_model_is_calibrated_from_the_command_line_and_keeps_it(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    options = ["--prompts", "60", "--candidates", "1", "--steps", "1", "--install", "--model", str(folder)]
    with pytest.raises(SystemExit) as stop:
        main(["eval", "calibrate", *options])
    assert stop.value.code == 0, capsys.readouterr().err
    assert "answer_logits" in capsys.readouterr().out
    out = tmp_path / "outputs" / "calibration-random"
    assert set(json.loads((out / "numbers.json").read_text())) == set(VERIFIERS)
    model = UniMM.from_pretrained(folder)
    assert model.calibrations == read_calibrations(out / "calibration.json")
    told = model.generate_image("a red star", best_of=2, num_inference_steps=1, output_type="latent", seed=0)
    assert 0 < told.probabilities[0] < 1
    facts = model.calibrations.maps["p_yes"].facts
    assert facts["num_prompts"] == 60
    assert {"date", "measured_on", "ece_after", "held_out_log_loss"} <= set(facts)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--prompts", "12", "--prompts: expected at least 60"),
        ("--steps", "0", "--steps"),
        ("--speed", "1", "--speed"),
    ],
)
def test_a_bad_option_is_refused_by_name(option, value, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["eval", "calibrate", option, value])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_the_recipe_is_the_same_command():
    words = [sys.executable, "-m", "eval.calibrate", "--prompts", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "--prompts: expected at least 60" in done.stderr
