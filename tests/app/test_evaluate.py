"""The stages from the command line: drawn, scored, compared, exported, and each mistake told in a line."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from unimm.app.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def unimm(capsys):
    """Run `unimm eval ...`; return the exit code, what was printed and what was complained of."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["eval", *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory, model_folder):
    """Two runs of a random model, of one step and of two."""
    folder = tmp_path_factory.mktemp("runs")
    for steps in (1, 2):
        words = ["--model", model_folder, "--limit", 6, "--steps", steps, "--out", folder / str(steps)]
        with pytest.raises(SystemExit) as stop:
            main(["eval", "generate", "--bench", "world", *map(str, words)])
        assert stop.value.code == 0
    return folder / "1", folder / "2"


def test_a_run_is_drawn_scored_compared_and_exported(unimm, runs, tmp_path):
    for run in runs:
        code, out, err = unimm("score", run)
        assert code == 0, err
        assert "world@oracle" in out
        assert "n = 6 pictures" in out
        card = json.loads((run / "card.json").read_text())
        assert card["generation"]["model"]["class"] == "UniMM"
        assert "overall" in (run / "card.html").read_text()
    code, out, err = unimm("compare", *runs, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "noise" in out
    assert (tmp_path / "page.html").is_file()
    code, out, err = unimm("export", runs[0], tmp_path / "theirs", "--to", "geneval")
    assert code == 0, err
    assert out.startswith("6 pictures")
    assert len(list((tmp_path / "theirs").iterdir())) == 6


def test_another_projects_pictures_are_scored_by_their_folder(unimm, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("score", runs[0] / "images", "--bench", "world", "--limit", 6)
    code, out, err = unimm(*words)
    assert code == 0, err
    assert (tmp_path / "outputs" / "world-images" / "card.json").is_file()
    assert "template 'unknown'" in out


def test_options_reach_the_run(unimm, model_folder, tmp_path):
    words = ("--solver", "heun", "--guidance", 2, "--interval", 0.1, 0.9, "--negative", "a moon")
    more = ("--best-of", 2, "--verifier", "prompt_confidence", "--template", "Draw {prompt}", "--seed", 3)
    out = tmp_path / "run"
    code, said, err = unimm(
        "generate", "--bench", "world", "--model", model_folder, "--limit", 6, "--steps", 1, "--out", out,
        *words, *more,
    )  # fmt: skip
    assert code == 0, err
    assert said.startswith("6 pictures drawn, of 6")
    run = json.loads((out / "run.json").read_text())
    assert run["sampling"] == {
        "steps": 1, "guidance": 2.0, "guidance_interval": [0.1, 0.9], "solver": "heun",
        "negative_prompt": "a moon", "best_of": 2, "verifier": "prompt_confidence", "selection": "each",
    }  # fmt: skip
    assert (run["seed"], run["prompts"]["template"]) == (3, "Draw {prompt}")
    code, _, err = unimm(
        "generate", "--bench", "world", "--model", model_folder, "--limit", 6, "--steps", 4, "--out", out
    )
    assert code == 2
    assert "sampling.steps: 4 here, 1 there" in err
    assert err.count("\n") == 1


def test_the_curve_is_one_command(unimm, model_folder, tmp_path):
    code, out, err = unimm(
        "curve", "--model", model_folder, "--limit", 6, "--steps", 1, "--best-of", "1,2", "--out", tmp_path
    )
    assert code == 0, err
    assert "best of 2" in out
    assert json.loads((tmp_path / "curve.json").read_text())["prompts"] == 6


def test_judges_and_benchmarks_are_listed(unimm):
    code, out, _ = unimm("judges")
    assert code == 0
    assert "mask2former" in out
    assert "never yet" in out
    code, out, _ = unimm("benchmarks")
    assert code == 0
    for name in ("geneval", "dpg", "wise", "geneval2", "world"):
        assert name in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "--bench", "genevl"), "did you mean 'geneval'"),
        (("generate", "--bench", "geneval"), "--prompts: geneval needs the path"),
        (("generate", "--bench", "geneval", "--prompts", "nowhere"), "nothing at 'nowhere'"),
        (("generate", "--bench", "world", "--limit", 3), "--limit: expected at least 6"),
        (("generate", "--bench", "world", "--template", "x"), "--template: expected {prompt}"),
        (("generate", "--bench", "world", "--rank", 2, "--world-size", 2), "--rank: expected 0 to 1"),
        (("score", "nowhere"), "--bench: nowhere is no run of ours"),
        (("score", "nowhere", "--bench", "world"), "no folder of pictures at nowhere"),
        (("curve", "--vqa", "oracle"), "--vqa: world asks --detector"),
        (("compare", "here", "there"), "here: expected a scored folder with card.json"),
        (("export", "here", "there", "--to", "geneval"), "expected a run of ours"),
        (("curve", "--best-of", "3,4"), "--best-of: expected numbers that divide"),
    ],
)
def test_a_mistake_is_one_line_and_code_two(unimm, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = unimm(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_says_which_judge_it_needs(unimm, tmp_path):
    prompts = tmp_path / "evaluation_metadata.jsonl"
    prompts.write_text('{"tag": "colors", "include": [{"class": "cup", "count": 1}], "prompt": "a cup"}\n')
    words = ("curve", "--bench", "geneval", "--prompts", prompts, "--out", tmp_path / "out")
    code, _, err = unimm(*words)
    assert code == 2
    assert "--allow-other-prompts" in err
    code, _, err = unimm(*words, "--allow-other-prompts")
    assert code == 2
    assert "--detector: geneval needs one, such as mask2former, oracle" in err


def test_a_run_knows_its_benchmark_and_prompts(unimm, runs):
    code, _, err = unimm("score", runs[0], "--bench", "dpg")
    assert (code, "is a run of 'world', got 'dpg'" in err) == (2, True)
    code, _, err = unimm("score", runs[0], "--limit", 6)
    assert (code, "has its prompts; leave the option out" in err) == (2, True)


@pytest.mark.parametrize("name", ["geneval", "dpg", "wise", "geneval2"])
def test_a_runner_is_the_same_command(name, monkeypatch):
    told = []
    monkeypatch.setattr("unimm.app.cli.main", told.append)
    monkeypatch.setattr("sys.argv", [f"eval/{name}.py", "score", "RUN", "--limit", "6"])
    runpy.run_path(str(ROOT / "eval" / f"{name}.py"), run_name="__main__")
    assert told == [["eval", "score", "--bench", name, "RUN", "--limit", "6"]]
