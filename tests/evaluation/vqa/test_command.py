"""`unimm eval vqa` from the command line, with the shipped model."""

from __future__ import annotations

import json

import pytest

from unimm.app.cli import main


def status(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_tiny_is_asked_the_worlds_questions_in_the_form_of_mme(tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["eval", "vqa", "--bench", "mme", "--limit", "8", "--out", str(folder)]
    assert status(arguments) == 0
    said = capsys.readouterr().out
    card = json.loads((folder / "card.json").read_text())
    assert "perception (4 of 10)" in said
    assert f"n = {card['n']} questions" in said
    assert card["n"] == 16
    # who always says the same has no pair right
    assert card["scores"]["existence/accuracy+"]["mean"] == 1


def test_a_mistake_is_one_line(tmp_path, capsys):
    for arguments, said in (
        (["--bench", "mmee"], "did you mean 'mme'?"),
        (["--bench", "mme", "--data", "no/such/place"], "--data: no folder, .tsv file or data set"),
        (["--bench", "mme", "--protocol", "cambrain"], "did you mean 'cambrian'?"),
    ):
        assert status(["eval", "vqa", *arguments, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_the_benchmarks_of_questions_are_listed(capsys):
    assert status(["eval", "questions"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("mme", "mmmu_pro", "lmms-lab/textvqa", "cambrian"))
