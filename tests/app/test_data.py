"""`unimm data doctor` tells what a data set is like: in lines, as JSON, as a page, and by its exit code."""

from __future__ import annotations

import json
import re

import pytest

from tests.data.readers import makers
from tests.data.readers.makers import talk, words, write_lines
from unimm.app import cli, exits
from unimm.app.data import options_of


@pytest.fixture
def doctor(capsys, tmp_path, monkeypatch):
    """Run `unimm data doctor` in an empty folder; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = exits.run(cli.app, ["data", "doctor", *map(str, arguments)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return run


def test_a_healthy_set_in_lines(doctor, tmp_path):
    code, out, err = doctor(makers.blip3o(tmp_path / "set"), "--show", "1")
    assert (code, err) == (0, "")
    for line in (
        "format     blip3o: 00000.tar has <key>.jpg, <key>.txt",
        "samples    6 in 2 shards, 6 checked",
        "pictures   0 seen, 6 to draw; JPEG RGB 6",
        "[picture to draw, 25 tokens]",
        f"following caption: {words(0)}<|im_end|>",
        "nothing is wrong",
    ):
        assert line in out, out


def test_faults_are_told_by_the_exit_code_too(doctor, tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [{"image": "no.png", "conversations": talk(0)}])
    code, out, _ = doctor(path)
    assert code == 1
    assert "broken     1 of 1: missing 1" in out
    assert "something is wrong" in out


def test_as_json_nothing_else_is_printed(doctor, tmp_path):
    code, out, _ = doctor(makers.messages(tmp_path / "set"), "--json", "--limit", "2")
    report = json.loads(out)
    assert code == 0
    assert (report["format"], report["samples"], report["checked"]) == ("messages", 3, 2)


def test_a_page_is_written(doctor, tmp_path):
    code, out, _ = doctor(makers.captions(tmp_path / "set"), "--page", "page.html")
    assert code == 0
    assert "page.html shows it with pictures" in out
    assert (tmp_path / "page.html").read_text().count("data:image/png") == 3


def test_leaked_prompts_are_found(doctor, tmp_path):
    write_lines(tmp_path / "geneval.jsonl", [{"prompt": words(1)}])
    code, out, _ = doctor(makers.captions(tmp_path / "set"), "--prompts", "geneval.jsonl")
    assert code == 1
    assert f"exact      sub/1.png: {words(1)!r} of geneval.jsonl" in out


def test_options_reach_the_reader(doctor, tmp_path):
    folder = makers.captions(tmp_path / "set")
    _, out, _ = doctor(folder, "--set", "template=Paint {caption}", "--set", "task=draw", "--show", "1")
    assert f"Paint {words(0)}" in out
    path = makers.llava(tmp_path / "rows")
    (path.parent / "coco").rename(tmp_path / "coco")
    assert doctor(path, "--images", path.parent, "--images", tmp_path, "--format", "llava")[0] == 0
    _, out, _ = doctor(path, "--images", path.parent, "--images", tmp_path, "--picture-tokens", "7")
    assert "[picture seen, 7 tokens]" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "data: nothing at nowhere"),
        (["empty"], "empty: no known format. Found a folder with no files. Looked for scale_rae: "),
        (["set", "--format", "blip"], "format: expected one of .* did you mean 'blip3o'"),
        (["set", "--set", "tasks=draw"], "did you mean 'task'"),
        (["set", "--set", "task"], "--set: expected NAME=VALUE, got 'task'"),
        (["set", "--set", "task=paint"], "task: expected one of draw, describe, reconstruct, got 'paint'"),
        (["set", "--tokenizer", "tin"], "did you mean 'tiny'"),
        (["set", "--prompts", "no.jsonl"], "prompts: nothing at no.jsonl"),
        (["hf://owner/name"], "--format: expected one for a stream of the hub"),
    ],
)
def test_mistakes_are_told_in_one_line(doctor, tmp_path, words, told):
    makers.captions(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    code, _, err = doctor(*words)
    assert code == 2
    assert re.search(told, err), err
    assert err.count("\n") == 1


def test_values_are_read_as_yaml():
    given = ["a=1", "b=[x, y]", "c=two words", "d={caption}: x"]
    assert options_of(given[:3]) == {"a": 1, "b": ["x", "y"], "c": "two words"}
