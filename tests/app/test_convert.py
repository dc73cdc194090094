"""`unimm convert` writes folders and tells what they hold."""

from __future__ import annotations

import json

import pytest

from tests.model.published.official import make_official
from unimm import UniMM
from unimm.app import cli, exits
from unimm.app.convert import amount, byte_count


@pytest.fixture
def unimm(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = exits.run(cli.app, [str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


@pytest.fixture
def made(tmp_path):
    return make_official(tmp_path / "from")


def parts(made):
    return [word for name, place in made.parts.items() for word in (f"--{name.replace('_', '-')}", place)]


def test_there_and_back(unimm, made):
    code, out, _ = unimm("convert", made.folder, "ours", *parts(made), "--max-shard-size", "100KB")
    assert code == 0
    assert out.startswith("ours: ")
    assert "layout unimm" in out
    assert "no part of the model and left out: generation_config.json\n" in out
    code, out, _ = unimm("convert", "ours", "theirs", "--dtype", "bfloat16", "--json")
    assert code == 0
    assert json.loads(out)["kind"] == "scale_rae"
    assert json.loads(out)["folder"] == "theirs"
    assert UniMM.from_pretrained("theirs").config.settings == UniMM.from_pretrained("ours").config.settings


def test_an_inspection_is_told_in_lines_or_as_json(unimm, made):
    code, out, _ = unimm("convert", "--inspect", made.folder)
    assert code == 0
    for line in (
        "scale_rae, model_type cambrian_qwen",
        "absent: latent statistics",
        "needs: decoder: nyu-visionx",
    ):
        assert line in out
    code, out, _ = unimm("convert", "--inspect", made.folder, "--json")
    assert code == 0
    assert json.loads(out)["num_tensors"] == len(made.state)


def test_faults_are_told_by_the_exit_code_too(unimm, made):
    (made.folder / "model.safetensors").unlink()
    code, out, _ = unimm("convert", "--inspect", made.folder)
    assert code == 1
    assert "faults: model: expected weights" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["FROM"], "DST: expected a folder to write, got none"),
        (["FROM", "x", "--inspect"], "--inspect: expected no folder to write"),
        (["FROM", "x", "--dtype", "bfloat"], "--dtype: expected one of .* did you mean 'bfloat16'"),
        (["FROM", "x", "--max-shard-size", "5"], "--max-shard-size: expected a size such as 5GB"),
        (["FROM", "x", "--to", "scalerae"], "to: expected one of .* did you mean 'scale_rae'"),
        (["nowhere", "x"], "model: expected 'tiny', a folder, or a hub id"),
        (["tiny", "x"], "the published layout has no place for this model"),
    ],
)
def test_mistakes_are_told_in_one_line(unimm, made, words, told):
    import re

    code, _, err = unimm("convert", *(made.folder if word == "FROM" else word for word in words))
    assert code == 2
    assert re.search(told, err), err
    assert err.count("\n") == 1


def test_sizes_are_read_and_told():
    assert [byte_count(text) for text in ("5GB", "200 mb", "1.5KB")] == [5 * 10**9, 2 * 10**8, 1500]
    assert [amount(count) for count in (12, 1500, 5 * 10**9)] == ["12 B", "1.5 KB", "5.0 GB"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "unimm"], "--to"),
        (["--dtype", "bfloat16", "--max-shard-size", "5GB"], "--dtype, --max-shard-size"),
    ],
)
def test_an_inspection_refuses_what_only_writing_would_use(unimm, made, words, told):
    code, _, err = unimm("convert", "--inspect", made.folder, *words)
    assert code == 2
    assert f"--inspect: nothing is written, so {told} cannot act" in err


def test_an_inspection_tells_of_the_parts_that_are_given(unimm, made):
    code, out, _ = unimm("convert", "--inspect", made.folder, *parts(made))
    assert code == 0
    for name, place in made.parts.items():
        assert f"needs: {name}: given ({place}" in out
