"""tools.bench_inference: tables, a file, refusals."""

from __future__ import annotations

import json

import pytest

from tools.bench_inference import main

QUICK = ["--batches", "1", "2", "--candidates", "2", "--steps", "1", "--best-steps", "1", "--repeats", "1"]


def test_the_built_in_model_is_timed_and_written(capsys, tmp_path):
    out = tmp_path / "speeds.json"
    assert main(["tiny", *QUICK, "--device", "cpu", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "naive best of 2" in shown
    assert "over one by one" in shown
    found = json.loads(out.read_text())["tiny"]
    assert [row["name"] for row in found["batches"]] == ["1 at once", "2 at once"]
    assert found["choices"][0]["ratio"] > 0


def test_memory_and_work_are_computed_for_every_size(capsys, tmp_path):
    out = tmp_path / "memory.json"
    assert main(["--computed", "1.5B+2.4B", "7B+9.8B", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "best of 8" in shown
    found = json.loads(out.read_text())["1.5B+2.4B"]
    assert found["memory"][0]["total"] > found["memory"][0]["weights"] > 9e9
    macs = found["macs"]["8"]
    assert macs["ours"]["draw"] == macs["naive"]["draw"] == pytest.approx(252.16e12, rel=1e-4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["tinny"], "did you mean 'tiny'"),
        (["7B+9.8B"], "needs a GPU"),
        (["tiny", "--repeats", "0"], "repeats: expected 1 or more, got 0"),
        (["--official", "nowhere"], "expected a Scale-RAE checkout"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(asked, message, capsys):
    assert main([*asked, "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
