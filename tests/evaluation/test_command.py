"""The whole road: a real model, if one of random weights, is measured from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.app.conftest import SIZES
from unimm.app.cli import main
from unimm.model import UniMM, UniMMConfig
from unimm.text.tokenizer import train_tokenizer
from unimm.world.language import caption
from unimm.world.scene import sample_scene

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    tokenizer = train_tokenizer((caption(sample_scene(rng), rng) for _ in range(50)), vocab_size=400)
    torch.manual_seed(0)
    model = UniMM(UniMMConfig({**SIZES, "llm": {**SIZES["llm"], "vocab_size": len(tokenizer)}})).eval()
    model.tokenizer = tokenizer
    place = tmp_path_factory.mktemp("model") / "random"
    model.save_pretrained(place)
    return place


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["eval", "world", *map(str, arguments)])
    return stop.value.code


def test_a_model_is_measured_printed_and_written(folder, tmp_path, capsys):
    scores = tmp_path / "scores.json"
    out = tmp_path / "out"
    assert run("--model", folder, "--limit", 6, "--steps", 2, "--json", scores, "--out", out) == 0
    said = capsys.readouterr()
    assert "self-agreement" in said.out
    assert "Traceback" not in said.err
    card = json.loads(scores.read_text())
    assert card["held_in"]["overall"]["n"] == 6
    assert card["held_in"]["overall"]["mean"] < 0.5
    assert card == json.loads((out / "card.json").read_text())
    facts = json.loads((out / "facts.json").read_text())
    assert facts["limit"] == 6
    assert facts["steps"] == 2
    assert not list(out.rglob("*.partial"))


def test_a_bad_option_is_one_line_and_code_two(folder, capsys):
    assert run("--model", folder, "--limit", 0) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "--limit" in said.err


def test_help_is_shown(capsys):
    assert run("--help") == 0
    assert "--limit" in capsys.readouterr().out


def test_the_recipe_is_the_same_command():
    words = [sys.executable, "-m", "eval.world", "--limit", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "--limit: expected at least 6" in done.stderr
