"""Files that lead outside, are missing, damaged or disagree with their rows."""

from __future__ import annotations

import json
import os

import pytest

from tests.data.readers import makers
from tests.data.readers.makers import encoded, held, talk, write_lines, write_parquet, write_tar
from unimm.data.pictures import open_picture
from unimm.data.readers import open_source
from unimm.data.samples import BrokenSample


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def test_links_that_lead_outside_are_refused(tmp_path):
    outside = tmp_path / "outside"
    makers.write_pictures(outside, [("a.jpg", 0)])
    (tmp_path / "set").mkdir()
    os.symlink(outside, tmp_path / "set" / "coco")
    rows = write_lines(tmp_path / "set" / "rows.jsonl", [{"image": "coco/a.jpg", "conversations": talk(0)}])
    with pytest.raises(BrokenSample) as caught:
        open_source(rows)[0, 0]
    found = caught.value
    assert found.kind == "path"
    assert (
        f"leads to {outside}/a.jpg, outside of {tmp_path}/set; name the folder with images=" in found.reason
    )
    source = open_source(rows, images=[rows.parent, outside])  # who names both, means it
    assert open_picture(source[0, 0].images[0].image, "").size == (32, 32)


def test_missing_pictures_are_told_when_they_are_opened(tmp_path):
    source = open_source(
        write_lines(tmp_path / "rows.jsonl", [{"image": "no.jpg", "conversations": talk(0)}])
    )
    sample = source[0, 0]
    with pytest.raises(BrokenSample, match=f"rows.jsonl:0: no file at {tmp_path}/no.jpg") as caught:
        open_picture(sample.images[0].image, sample.key)
    assert caught.value.kind == "missing"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("a.json", b"{")], "json: not readable as JSON"),
        ([("a.json", b"{}")], "expected a key 'conversations', got no keys"),
        ([("a.json", json.dumps({"conversations": talk(0)}).encode())], "got 1 markers and 0 pictures"),
        (
            [
                ("a.json", json.dumps({"conversations": talk(0), "image_filename": "b.png"}).encode()),
                ("a.png", b"x"),
            ],
            "image_filename: expected 'a.png', got str 'b.png'",
        ),
        (
            [("a.json", json.dumps({"conversations": talk(0), "image_filename": "b.png"}).encode())],
            "expected one of .jpg, .jpeg, .png, .webp, got json",
        ),
        ([("a.png", b"x")], "expected a .json, got png"),
    ],
)
def test_rows_of_scale_raes_tars(tmp_path, members, said):
    path = write_tar(tmp_path / "0.tar", members)
    with pytest.raises(BrokenSample) as caught:
        open_source(path, format="scale_rae")[0, 0]
    assert said in caught.value.reason
    assert caught.value.key == "0.tar/a"


def test_unmarked_pictures_are_put_first_only_where_that_is_the_rule(tmp_path):
    makers.write_pictures(tmp_path, [("0.jpg", 0)])
    path = write_lines(tmp_path / "rows.jsonl", [{"image": "0.jpg", "conversations": talk(0, "")}])
    assert len(open_source(path, format="scale_rae")[0, 0].images) == 1
    assert len(open_source(path, unmarked="first")[0, 0].images) == 1
    with pytest.raises(BrokenSample, match="0 markers and 1 pictures"):
        open_source(path)[0, 0]


def test_a_caption_that_is_missing_or_no_text(tmp_path):
    folder = makers.captions(tmp_path / "set")
    (folder / "sub" / "0.txt").unlink()
    (folder / "sub" / "1.txt").write_bytes(encoded(0, "jpeg"))
    source = open_source(folder)
    for row, kind in [(0, "missing"), (1, "text")]:
        with pytest.raises(BrokenSample) as caught:
            source[0, row]
        assert caught.value.kind == kind


def test_damaged_parquet_is_refused_or_broken(tmp_path):
    rows = [{"image": held(n), "conversations": talk(n)} for n in range(4)]
    path = write_parquet(tmp_path / "rows.parquet", rows)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-10])
    with pytest.raises(ValueError, match="rows.parquet: not readable as parquet, cut short"):
        open_source(path, format="llava")
    content[4:900] = b"\xff" * 896
    path.write_bytes(content)
    source = open_source(path, format="llava")
    with pytest.raises(BrokenSample, match="rows.parquet:0: cannot be read from parquet") as caught:
        source[0, 0]
    assert caught.value.kind == "damage"
    assert source[1, 1].key == "rows.parquet:3"
