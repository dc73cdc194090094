"""Benchmarks' prompts in training data: found behind a request, in other dress, and nearly; not in kin."""

from __future__ import annotations

import json

import pytest

from tests.data.readers.makers import write_lines, write_pictures
from unimm.data.doctor import Checks, examine
from unimm.data.doctor_leaks import Leaks, read_prompts, words_of
from unimm.data.readers import open_source
from unimm.text.tokenizer import train_tokenizer

SHORT = "a photo of a bench left of a bear"
LONG = (
    "A cozy reading corner with a green armchair, a tall brass lamp, and a wooden shelf full of old books, "
    "while rain runs down the window behind it."
)


@pytest.fixture
def leaks():
    return Leaks({SHORT: "geneval", "a photo of a bench": "geneval", LONG: "dpg"})


def found(leaks, text):
    return [(leak.prompt, leak.kind) for leak in leaks.find(text)]


@pytest.mark.parametrize(
    "text",
    [
        SHORT,
        "A photo of a bench, left of a bear.",
        "  photo of the BENCH left of bear!! ",
        f"Please generate image based on the following caption: {SHORT}",
        f"Generate an image of {SHORT}",
    ],
)
def test_the_same_words_are_exact(leaks, text):
    assert found(leaks, text) == [(SHORT, "exact")]


def test_the_longest_prompt_is_named(leaks):
    assert found(leaks, "Draw a photo of a bench") == [("a photo of a bench", "exact")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a bear left of a bench",
        "a photo of two benches",
        "a photo of a bench in the park",
        f"{' '.join(f'word{n}' for n in range(13))} {SHORT}",
        "A cozy reading corner with a red sofa and a cat",
        LONG + " " + " ".join(f"other{n}" for n in range(80)),
    ],
)
def test_kin_are_no_leaks(leaks, text):
    assert found(leaks, text) == []


def test_a_long_prompt_with_a_word_or_two_changed_is_near(leaks):
    near = LONG.replace("green", "blue")
    assert found(leaks, near) == [(LONG, "near")]
    assert found(leaks, f"Draw this: {near}") == [(LONG, "near")]
    assert found(leaks, LONG.replace(",", "")) == [(LONG, "exact")]


def test_words_are_compared_without_dress():
    assert words_of("The Café’s  “ﬁrst” #1, a  cat") == ("café", "s", "first", "1", "cat")


def test_a_line_of_json_may_hold_other_ends_of_lines(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "a cat\u2028and a dog"}, ensure_ascii=False), encoding="utf-8")
    assert list(read_prompts([path])) == ["a cat\u2028and a dog"]


def test_prompts_are_read_from_every_layout(tmp_path):
    geneval = [{"tag": "single_object", "include": [], "prompt": SHORT}, {"prompt": "a photo of a cat"}]
    write_lines(tmp_path / "evaluation_metadata.jsonl", geneval)
    (tmp_path / "dpg").mkdir()
    (tmp_path / "dpg" / "0.txt").write_text(LONG + "\n")
    (tmp_path / "wise.json").write_text(json.dumps([{"Prompt": "ice in summer", "prompt_id": 1}]))
    (tmp_path / "dict.json").write_text(json.dumps({"1": {"prompt": "one"}, "2": "two"}))
    (tmp_path / "lines.txt").write_text("three\n\nfour\n")
    names = ["evaluation_metadata.jsonl", "dpg", "wise.json", "dict.json", "lines.txt"]
    assert read_prompts([tmp_path / name for name in names]) == {
        SHORT: "evaluation_metadata.jsonl",
        "a photo of a cat": "evaluation_metadata.jsonl",
        LONG: "dpg",
        "ice in summer": "wise.json",
        "one": "dict.json",
        "two": "dict.json",
        "three": "lines.txt",
        "four": "lines.txt",
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "not readable as JSON"),
        ("a.jsonl", b'{"id": 1}\n', "row 0: expected one of prompt"),
        ("a.json", b"[]", "expected prompts, found none"),
        ("a.txt", b"\xff\xfe", "expected UTF-8 text"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_prompts([tmp_path / name])


def test_nothing_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="prompts: nothing at"):
        read_prompts([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="at least one"):
        Leaks({})


def test_the_doctor_looks_into_every_wording(tmp_path, leaks, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path, [("0.png", 0)])
    rows = [
        {"src_img": "0.png", "edited_img": "0.png", "edited_prompt_list": [f"Draw {SHORT}", "fine words"]},
        {"src_img": "0.png", "edited_img": "0.png", "edited_prompt_list": ["fine words"]},
    ]
    source = open_source(write_lines(tmp_path / "rows.jsonl", rows))
    tokenizer = train_tokenizer(["fine words"], vocab_size=270)
    seen = examine(source, tokenizer, Checks(num_slots=4, leaks=leaks))
    assert [(key, leak.kind, leak.source) for key, leak in seen.leaks] == [
        ("rows.jsonl:0", "exact", "geneval")
    ]
