"""skipped.jsonl: which sample of which source was not used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from tests.data.talking import Listed, talks
from unimm.data.labelled import LabelledPictures, LabelledSettings
from unimm.data.photographs import Photographs, PhotographSettings
from unimm.data.skipped import SkipList, read_skipped
from unimm.data.talks import SourceSettings

HALF = frozenset((shard, row) for shard in range(2) for row in range(0, 4, 2))


def test_sources_with_files_of_one_name_are_told_apart(tmp_path):
    two = [Listed("rows.jsonl", (4, 4), broken=HALF) for _ in "ab"]
    settings = [SourceSettings("web/rows.jsonl"), SourceSettings("mine/rows.jsonl")]
    rows = talks(*two, settings=settings).rows(0, 64)
    SkipList(tmp_path).add(gone for row in rows for gone in row.skipped)
    found = read_skipped(tmp_path)
    names = ["position", "source", "shard", "row", "key", "kind", "reason"]
    assert all(list(line) == names for line in found)
    assert {(line["source"], line["shard"], line["row"]) for line in found} == {
        (each.path, *place) for each in settings for place in HALF
    }
    assert all(line["key"] == f"rows.jsonl/{line['shard']}/{line['row']}" for line in found)


def test_rows_of_one_name_in_two_shards_are_both_listed(tmp_path):
    rows = talks(Listed("a", (4, 4), broken=HALF)).rows(0, 64)
    first = next(gone for row in rows for gone in row.skipped)
    alike = replace(first, shard=first.shard + 1)
    listed = SkipList(tmp_path)
    listed.add([first, alike, first])
    SkipList(tmp_path).add([alike, first])
    assert [line["shard"] for line in read_skipped(tmp_path)] == [first.shard, alike.shard]


def pictures(folder, broken: str):
    for name in ("left", "right"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(folder / name / f"{number}.png")
    (folder / broken).write_bytes(b"no picture")
    return str(folder)


def test_pictures_alone_are_told_by_their_source(tmp_path):
    paths = [pictures(tmp_path / name, "right/1.png") for name in ("one", "two")]
    told = []
    settings = PhotographSettings(tuple(map(SourceSettings, paths)), 8, 8)
    Photographs(settings, 0, told.extend).at(0, 32)
    assert {(each.source, each.shard, each.row, each.key) for each in told} == {
        (path, 1, 1, "right/1.png") for path in paths
    }


def test_pictures_with_classes_are_told_by_their_source(tmp_path):
    path = pictures(tmp_path / "one", "right/1.png")
    index, [gone] = LabelledPictures(LabelledSettings(path, pixels=8)).usable(4, 70)
    assert index == 5
    assert (gone.position, gone.source, gone.shard, gone.row) == (70, path, 1, 1)
