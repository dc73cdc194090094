"""The demonstration runs from end to end, says what it did and writes what it says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unimm.app import cli, demo, exits
from unimm.app.report import Plan, Report

# By prompt confidence: a model with random weights never says yes or no, so all answers score the same.
PLAN = Plan(steps=2, best_of=3, seed=4, verifier="prompt_confidence")


@pytest.fixture(scope="module")
def shown(random_model) -> tuple[Report, list[str]]:
    lines: list[str] = []
    return demo.run(random_model, "random", PLAN, lines.append), lines


def test_every_prompt_is_drawn_scored_described_and_questioned(shown):
    report, lines = shown
    assert [drawing.prompt for drawing in report.drawings] == [prompt for prompt, _ in demo.PROMPTS]
    for drawing, (_, questions) in zip(report.drawings, demo.PROMPTS, strict=True):
        assert len(drawing.scores) == PLAN.best_of
        assert [question for question, _ in drawing.answers] == list(questions)
        assert any(drawing.prompt in line for line in lines)
    assert [exchange.said for exchange in report.exchanges] == list(demo.TALK)


def test_the_picture_shown_is_that_of_the_best_score(shown, random_model):
    report, _ = shown
    for index, drawing in enumerate(report.drawings):
        seed = PLAN.seed + demo.SEEDS_APART * index + drawing.winner
        alone = random_model.generate_image(drawing.prompt, num_inference_steps=PLAN.steps, seed=seed)
        difference = np.asarray(alone.images[0], int) - np.asarray(drawing.image, int)
        assert abs(difference).max() <= 1  # of 255: a batch of candidates may round otherwise than one alone


def test_what_is_saved_is_whole(shown, tmp_path):
    page, sheet = demo.save(shown[0], tmp_path / "new" / "folder")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    names = {path.name for path in page.parent.iterdir()}
    assert names >= {"index.html", "demo.png", *(f"drawing-{n}.png" for n in range(1, len(demo.PROMPTS) + 1))}
    for path in page.parent.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
    assert not list(page.parent.glob("*.partial"))
    assert sheet.name == "demo.png"


def test_the_command_tells_the_weight_and_how_to_choose_torch(model_folder, tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path), "--steps", "1", "--best-of", "2", "--model", model_folder]
    assert exits.run(cli.app, arguments) == 0
    said = capsys.readouterr().out
    for words in ("Installed packages: ", "Parameters: ", "TORCH_INDEX", "index.html"):
        assert words in said
    assert (tmp_path / "index.html").exists()
