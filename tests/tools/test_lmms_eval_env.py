"""tools.lmms_eval_env: the commands, and stopping at the first that fails."""

from pathlib import Path

import pytest

from tools import lmms_eval_env
from tools.lmms_eval_env import commands, main, pinned_torch


def test_the_environment_gets_the_pinned_torch_and_this_checkout(tmp_path):
    pinned = Path("constraints.txt").read_text().splitlines()
    assert pinned_torch() in pinned
    make, torch, rest, first, look = commands(tmp_path, "https://example.org/cpu")
    assert make[1:3] == ["-m", "venv"]
    assert torch[-4:] == ["--index-url", "https://example.org/cpu", pinned_torch(), "torchvision"]
    assert rest[-3:] == [pinned_torch(), "--editable", f"{Path.cwd()}[lmms-eval]"]
    assert "get_model('unimm')" in look[-1]
    assert all(command[0] == str(tmp_path / "bin" / "python") for command in (torch, rest, first, look))


def test_a_dry_run_shows_and_does_nothing(tmp_path, capsys):
    assert main([str(tmp_path / "env"), "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert not (tmp_path / "env").exists()


def test_it_stops_at_the_first_failure(tmp_path, monkeypatch, capsys):
    ran = []

    def fail(command, check):
        ran.append(command)
        return type("Done", (), {"returncode": 3 if len(ran) == 2 else 0})

    monkeypatch.setattr(lmms_eval_env.subprocess, "run", fail)
    assert main([str(tmp_path / "env")]) == 3
    assert len(ran) == 2
    assert "failed with status 3" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(lmms_eval_env.ROOT)
