"""tools.count: tables, JSON, refusals."""

from __future__ import annotations

import json

from tools.count import main


def test_a_name_and_a_file_are_shown_and_written(capsys, tmp_path):
    out = tmp_path / "counts.json"
    assert main(["RAE DiT-S", "configs/model/tiny.yaml", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "RAE DiT-S" in shown
    assert "connector" in shown
    numbers = json.loads(out.read_text())
    assert set(numbers) == {"RAE DiT-S", "configs/model/tiny.yaml"}
    rooms = numbers["RAE DiT-S"]
    assert rooms["total"]["macs"] == sum(r["macs"] for name, r in rooms.items() if name != "total")


def test_a_name_may_hold_a_sign_that_overrides_hold(capsys):
    assert main(["MM-DiT d=15"]) == 0
    assert "MM-DiT d=15" in capsys.readouterr().out
    assert main(["MM-DiT d=15", "dit.depth=2"]) == 2
    assert "expected a config file beside ['dit.depth=2']" in capsys.readouterr().err


def test_names_are_listed(capsys):
    assert main(["--list"]) == 0
    assert "DiT^DH-XL" in capsys.readouterr().out.splitlines()


def test_a_mistake_is_one_line_and_exit_code_2(capsys):
    assert main(["DiT-DH-XL"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "did you mean 'DiT^DH-XL'" in line
