"""Files are there whole or not at all; JSON of the wrong kind is named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from unimm.whole import appearing, read_json, read_lines, write_whole


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "star.png"
    target.write_bytes(b"old")

    def half_written(self, data):
        with open(self, "wb") as file:
            file.write(data[:2])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, b"new picture")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_written_may_be_text_and_bytes(tmp_path):
    assert write_whole(tmp_path / "page.html", "é").read_text(encoding="utf-8") == "é"
    assert write_whole(tmp_path / "page.html", b"e").read_bytes() == b"e"


def test_what_is_written_while_others_look_has_no_name_yet(tmp_path):
    target = tmp_path / "index.npz"
    with appearing(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        partial.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_what_raises_leaves_the_old_file(tmp_path):
    def interrupted():
        with appearing(target) as partial:
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    target = write_whole(tmp_path / "index.npz", b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"{", dict, "config.json: expected JSON, could not read it"),
        (b"\xff", dict, "config.json: expected JSON, could not read it"),
        (b"[1]", dict, "config.json: expected a JSON object, got list"),
        (b"{}", list, "config.json: expected a JSON array, got dict"),
    ],
)
def test_json_of_another_form_is_named(content, kind, said, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "config.json", kind)


def test_a_file_that_is_missing_is_named_with_whose_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="vae: expected config.json in .*, found none"):
        read_json(tmp_path / "config.json", of="vae")
    with pytest.raises(FileNotFoundError, match="expected a file at .*rows.jsonl, found none"):
        read_lines(tmp_path / "rows.jsonl")


def test_a_bad_line_is_named_by_its_number(tmp_path):
    path = write_whole(tmp_path / "rows.jsonl", '{"a": 1}\n\n{"b": 2}\n[3]\n')
    with pytest.raises(ValueError, match="rows.jsonl, line 4: expected a JSON object, got list"):
        read_lines(path)
    write_whole(path, '{"a": 1}\n\n{"b": 2}\n')
    assert read_lines(path) == [{"a": 1}, {"b": 2}]


def test_other_ends_of_lines_may_stand_in_a_text(tmp_path):
    path = write_whole(tmp_path / "rows.jsonl", '{"a": "one\u2028two\x85three"}\r\n{"a": "x"}')
    assert [row["a"] for row in read_lines(path)] == ["one\u2028two\x85three", "x"]


def test_bytes_that_are_no_text_are_told(tmp_path):
    with pytest.raises(ValueError, match="rows.jsonl: expected text in UTF-8, could not read it"):
        read_lines(write_whole(tmp_path / "rows.jsonl", b"\xff"))
