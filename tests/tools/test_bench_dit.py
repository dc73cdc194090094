"""tools.bench_dit: a table, a file, refusals."""

from __future__ import annotations

import json

import pytest

from tools.bench_dit import arguments, bodies, main

QUICK = ["--batch", "1", "--repeats", "1", "--steps", "1"]


def test_a_chosen_size_is_timed_and_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("unimm.training.speed.MIN_SECONDS", 0.005)
    out = tmp_path / "speeds.json"
    sizes = ["--kind", "sit", "--width", "32", "--depth", "1", "--heads", "2", "--grid", "4"]
    assert main([*sizes, *QUICK, "--device", "cpu", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "sit, width 32, depth 1" in shown
    assert "of matmul" in shown
    [speeds] = json.loads(out.read_text())["bodies"].values()
    assert [speed["name"] for speed in speeds][1:] == ["forward", "forward and backward", "sample of 1 steps"]


def test_a_published_size_can_be_made_shallower():
    [(name, (kind, config))] = bodies(arguments(["DiT^DH-XL", "--depth", "2"])).items()
    assert name == "DiT^DH-XL, depth 2"
    assert (kind, config.width, config.depth, config.head_width) == ("ddt", 1152, 2, 2048)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["DiTDH-XL"], "did you mean 'DiT^DH-XL'"),
        ([], "expected a published size or --kind"),
        (["DiT^DH-S", "--repeats", "0"], "repeats: expected 1 or more, got 0"),
        (["--kind", "lightning", "--width", "33"], "dit.width"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(asked, message, capsys):
    assert main([*asked, "--device", "cpu"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
