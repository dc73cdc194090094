"""`unimm plan`: a table or numbers, and an exit code that says whether it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm.app.cli import app
from unimm.app.plan import _lasting, _short

RECIPES = Path(__file__).parents[2] / "configs" / "train"
JOINT, BY_CLASS, VAE = (str(RECIPES / f"tiny_{name}.yaml") for name in ("joint", "class_conditional", "vae"))


def planned(*words):
    return CliRunner().invoke(app, ["plan", *words])


@pytest.mark.parametrize(
    ("recipe", "stage"),
    [
        (JOINT, "joint"),
        (BY_CLASS, "class_conditional"),
        (VAE, "vae"),
        *((str(RECIPES / f"tiny_{stage}.yaml"), stage) for stage in ("finetune", "preference", "reward")),
    ],
)
def test_a_small_run_fits_a_large_device(recipe, stage):
    done = planned(recipe, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["stage"] == stage
    assert found["fits"]
    assert found["device_total"] == sum(found["device_bytes"].values())
    assert found["trained"] > 10**5


def test_what_does_not_fit_is_refused_with_what_would():
    done = planned(JOINT, "--memory", "1.5")
    assert done.exit_code == 1
    assert " of 1.5 " in done.output, "what it is held against, as it was given"
    assert "It does not fit. What would:" in done.output
    assert "train.accumulation=" in done.output


def test_changes_count():
    few, many = (json.loads(planned(JOINT, f"train.batch_size={size}", "--json").output) for size in (48, 96))
    assert many["step_flops"] == 2 * few["step_flops"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "expected a YAML file at nowhere.yaml"),
        ([str(RECIPES.parent / "model" / "tiny.yaml")], "fit none; name the stage by --stage"),
        ([JOINT, "--gpu", "h1000"], "did you mean 'h100'"),
        ([JOINT, "--gpus", "2"], "add train.deepspeed.zero_stage=2"),
        ([JOINT, "--stage", "jont"], "did you mean 'joint'"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(words, said):
    done = planned(*words)
    assert done.exit_code != 0
    assert said in str(done.exception)


@pytest.mark.parametrize(
    ("count", "said"),
    [(3_146 * 10**9, "3,150 B"), (4_814 * 10**6, "4.81 B"), (16_240_000, "16.2 M"), (1_500, "1.5 thousand")],
)
def test_counts_are_told_to_three_digits(count, said):
    assert _short(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (211_680, "2.45 days"),
        (11_520, "3.2 hours"),
        (90, "1.5 minutes"),
        (7.06, "7.06 s"),
        (0.0008, "0.8 ms"),
    ],
)
def test_times_are_told_in_the_unit_that_they_fill(seconds, said):
    assert _lasting(seconds) == said


def test_a_stage_without_text_tells_of_no_tokens():
    said = planned(VAE).output
    assert "images/s" in said
    assert "token" not in said
