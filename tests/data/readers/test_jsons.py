"""JSON of any size: rows found without parsing, equal to what the standard parser finds."""

from __future__ import annotations

import json
import random

import pytest

from unimm.data.readers import jsons
from unimm.data.readers.jsons import Jsons
from unimm.data.samples import BrokenSample

ROWS = [
    {"a": 'quote " and \\ and \\" and [1, {2}]', "n": [1, [2, {"x": []}]]},
    {"back": "\\\\\\", "ü": "日本 🙂", "empty": {}},
    {},
    {"nested": {"deep": [{"er": "}]"}]}},
    {"last": "\\"},
]


def opened(tmp_path, content: bytes, name="rows.json") -> Jsons:
    path = tmp_path / name
    path.write_bytes(content)
    return Jsons([path], tmp_path / "cache")


def read(rows: Jsons):
    return [rows.row(0, number) for number in range(rows.shards[0])]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 2**20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii", [True, False])
def test_a_list_is_found_whatever_the_pieces(tmp_path, monkeypatch, chunk, indent, ascii):
    monkeypatch.setattr(jsons, "CHUNK", chunk)
    content = json.dumps(ROWS, indent=indent, ensure_ascii=ascii).encode()
    assert read(opened(tmp_path, content)) == ROWS
    assert read(opened(tmp_path, b"\xef\xbb\xbf\n " + content + b"\n\n")) == ROWS


def test_lists_of_random_strings_are_found(tmp_path, monkeypatch):
    rng = random.Random(0)
    monkeypatch.setattr(jsons, "CHUNK", 97)
    words = ["".join(rng.choices('\\"[]{},:a ', k=9)) for _ in range(600)]
    rows = [{name: value} for name, value in zip(words[::2], words[1::2], strict=True)]
    assert read(opened(tmp_path, json.dumps(rows).encode())) == rows


@pytest.mark.parametrize("chunk", [1, 5, 2**20])
def test_lines_are_found_and_blank_ones_left_out(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(jsons, "CHUNK", chunk)
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    for end in (b"\n", b"\r\n", b"\n\n  \n"):
        assert read(opened(tmp_path, end.join(lines) + end, "rows.jsonl")) == ROWS
        assert read(opened(tmp_path, end.join(lines), "rows.jsonl")) == ROWS


def test_an_empty_list_has_no_rows(tmp_path):
    assert opened(tmp_path, b" [ ] ").shards == (0,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected a JSON list or a JSON object in each line"),
        (b"<!doctype html>", "it begins with b'<!doctype html>'"),
        (b"version https://git-lfs", "git-lfs"),
        (b"[1, 2]", "expected a list of objects, got 0 among 2"),
        (b'[{"a": 1}, "b"]', "expected a list of objects, got 1 among 2"),
    ],
)
def test_other_files_are_refused(tmp_path, content, said):
    with pytest.raises(ValueError, match=said):
        opened(tmp_path, content)


def test_a_list_cut_short_keeps_its_whole_rows(tmp_path):
    content = json.dumps(ROWS).encode()
    rows = opened(tmp_path, content[:-6])
    assert rows.shards == (5,)
    assert [rows.row(0, n) for n in range(4)] == ROWS[:4]
    with pytest.raises(BrokenSample, match="rows.json:4: row: not readable as JSON") as caught:
        rows.row(0, 4)
    assert caught.value.kind == "damage"
    assert "cut short, the list is not closed after 4 whole rows" in rows.faults[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": ' + b"[" * 100_000 + b"}", "not readable as JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not readable as JSON"),
        (b'{"a": "\xff"}', "not readable as JSON"),
        (b'{"a": 1', "not readable as JSON"),
        (b"[1]", "expected an object, got list"),
    ],
)
def test_bad_lines_are_broken_samples(tmp_path, line, said):
    rows = opened(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 2}', "rows.jsonl")
    assert rows.shards == (3,)
    with pytest.raises(BrokenSample, match=said):
        rows.row(0, 1)
    assert rows.row(0, 2) == {"a": 2}


def test_a_huge_line_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(jsons, "MAX_ROW_BYTES", 50)
    rows = opened(tmp_path, b'{"a": 1}\n{"a": "' + b"x" * 100 + b'"}', "rows.jsonl")
    with pytest.raises(BrokenSample, match="rows.jsonl:1: expected at most 50 bytes of JSON, got 109"):
        rows.row(0, 1)
