"""Tars: rows by key, read in place; names that lead outside, links and cut files are broken samples."""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile

import pytest

from tests.data.readers.makers import blip3o, encoded, words, write_tar
from unimm.data.pictures import open_picture
from unimm.data.readers import tars
from unimm.data.readers.blip3o import open_blip3o
from unimm.data.readers.tars import Tar, split_name
from unimm.data.samples import BrokenSample, Source


def opened(folder, tmp_path, **options):
    return open_blip3o(sorted(folder.glob("*.tar")), cache=tmp_path / "cache", **options)


def test_rows_are_read_in_any_order(tmp_path):
    source = opened(blip3o(tmp_path / "set"), tmp_path)
    assert isinstance(source, Source)
    assert source.shards == (3, 3)
    assert len(source) == 6
    for shard, row in [(1, 2), (0, 0), (1, 0)]:
        sample, number = source[shard, row], 100 * shard + row
        assert sample.key == f"{shard:05d}.tar/{row:09d}"
        request = f"Please generate image based on the following caption: {words(number)}"
        assert [turn.role for turn in sample.turns] == ["user", "assistant"]
        assert sample.texts == (request,)
        (drawn,) = sample.images
        assert drawn.target
        assert drawn in sample.turns[1].parts
        found = open_picture(drawn.image, sample.key)
        assert found.tobytes() == open_picture(encoded(number, "jpeg"), "").tobytes()
    assert source.faults == ()


@pytest.mark.parametrize(("task", "targets"), [("describe", (False,)), ("reconstruct", (False, True))])
def test_captions_teach_other_tasks_too(tmp_path, task, targets):
    sample = opened(blip3o(tmp_path / "set", 1), tmp_path, task=task)[0, 1]
    assert tuple(image.target for image in sample.images) == targets
    assert (words(1) in sample.texts) == (task == "describe")


def test_one_caption_has_its_name_too(tmp_path):
    sample = opened(blip3o(tmp_path), tmp_path)[0, 0]
    assert list(sample.wordings) == ["txt"]
    assert sample.worded("txt").turns == sample.turns


def test_captions_in_the_json_are_wordings(tmp_path):
    source = opened(
        blip3o(tmp_path / "set", 1, with_json=True),
        tmp_path,
        json_captions=["original"],
        template="{caption}",
    )
    sample = source[0, 2]
    assert list(sample.wordings) == ["txt", "original"]
    assert sample.texts == (words(2),)
    assert sample.picked(3).texts == sample.worded("original").texts == ("alt text 2",)
    assert sample.picked(2).texts == (words(2),)
    with pytest.raises(ValueError, match="did you mean 'original'"):
        sample.worded("origin")


def test_a_json_without_the_caption_is_named(tmp_path):
    source = opened(blip3o(tmp_path / "set", 1, with_json=True), tmp_path, json_captions=["alt"])
    with pytest.raises(
        BrokenSample, match="00000.tar/000000001: expected a key 'alt', got 'original', 'width'"
    ):
        source[0, 1]


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    ("members", "kind", "said"),
    [
        ([("../a.jpg", b"x"), ("../a.txt", b"x")], "path", "leads outside"),
        ([("/etc/a.jpg", b"x")], "path", "leads outside"),
        ([("b/../../a.jpg", b"x")], "path", "leads outside"),
        ([("a.jpg", link("a.jpg", "/etc/passwd")), ("a.txt", b"x")], "path", "is a link"),
        ([("a.jpg", b"x"), ("a.jpg", b"y"), ("a.txt", b"x")], "schema", "two members"),
        ([("a.jpg", b"x")], "missing", "expected a caption .txt, got jpg"),
        ([("a.txt", b"x")], "missing", "expected one of .jpg"),
        ([("a.jpg", b"x"), ("a.png", b"x"), ("a.txt", b"x")], "schema", "expected one of .jpg"),
        ([("a.jpg", b"x"), ("a.txt", b"\xff\xfe\x00")], "text", "expected UTF-8"),
        ([("a.jpg", b"x"), ("a.txt", b"a\0b")], "text", "NUL"),
        ([("a.jpg", b"x"), ("a.txt", b" \n")], "text", "expected words"),
        ([("a.jpg", b"x"), ("a.txt", b"")], "picture", "an empty file"),
    ],
)
def test_broken_rows_say_why(tmp_path, members, kind, said):
    write_tar(tmp_path / "set" / "0.tar", members)
    source = opened(tmp_path / "set", tmp_path)
    assert source.shards == (1,)
    with pytest.raises(BrokenSample, match=said) as caught:
        source[0, 0]
    assert caught.value.kind == kind
    assert caught.value.key.startswith("0.tar/")


def test_a_tar_cut_short_keeps_what_is_whole(tmp_path):
    path = blip3o(tmp_path / "set", 1) / "00000.tar"
    content = path.read_bytes()
    third = content.index(b"000000002.jpg")
    path.write_bytes(content[: third + 700])  # within the third picture
    source = opened(path.parent, tmp_path)
    assert source.shards == (3,)
    assert source[0, 1].key == "00000.tar/000000001"
    with pytest.raises(BrokenSample, match="cut short") as caught:
        source[0, 2]
    assert caught.value.kind == "damage"
    assert len(source.faults) == 1
    assert f"cut short at {third + 700} bytes" in source.faults[0]


def test_rubbish_within_a_tar_is_a_fault_of_the_file(tmp_path):
    path = blip3o(tmp_path / "set", 1) / "00000.tar"
    content = bytearray(path.read_bytes())
    second = content.index(b"000000001.jpg")
    content[second : second + 512] = b"\x55" * 512
    path.write_bytes(content)
    source = opened(path.parent, tmp_path)
    assert source.shards == (1,)
    assert f"no member begins at byte {second}" in source.faults[0]


def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path):
    plain = blip3o(tmp_path / "set", 1) / "00000.tar"
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(ValueError, match="compressed by gzip, unpack that layer first"):
        opened(plain.parent, tmp_path)


def test_an_index_is_made_once_and_again_when_the_tar_changes(tmp_path, monkeypatch):
    path = blip3o(tmp_path / "set", 1) / "00000.tar"
    built = []

    def counted(path, advance):
        built.append(path)
        return real(path, advance)

    real = tars.build_index
    monkeypatch.setattr(tars, "build_index", counted)
    for _ in range(3):
        assert len(Tar(path, tmp_path / "cache")) == 3
    assert len(built) == 1
    write_tar(path, [("a.jpg", b"x"), ("a.txt", b"y")])
    assert len(Tar(path, tmp_path / "cache")) == 1
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    Tar(path, tmp_path / "cache")
    assert len(built) == 3
    kept = next((tmp_path / "cache").rglob("*.npy"))
    kept.write_bytes(kept.read_bytes()[:50])
    assert Tar(path, tmp_path / "cache").key(0) == "00000.tar/a"
    assert len(built) == 4
    assert {file.suffix for file in (tmp_path / "cache").rglob("*.*") if file.is_file()} == {".npy"}


def test_a_source_goes_to_other_processes(tmp_path):
    source = pickle.loads(pickle.dumps(opened(blip3o(tmp_path / "set"), tmp_path)))
    assert source[1, 1].texts[0].endswith(words(101))


def test_members_apart_are_one_row(tmp_path):
    pictures = [(f"{n}.jpg", encoded(n, "jpeg")) for n in range(3)]
    captions = [(f"{n}.txt", words(n).encode()) for n in range(3)]
    write_tar(tmp_path / "set" / "0.tar", pictures + captions)
    source = opened(tmp_path / "set", tmp_path)
    assert source.shards == (3,)
    assert source[0, 1].texts[0].endswith(words(1))


def test_places_outside_are_refused(tmp_path):
    source = opened(blip3o(tmp_path / "set"), tmp_path)
    for place in [(2, 0), (-1, 0), (0, 3), (0, -1)]:
        with pytest.raises(IndexError):
            source[place]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/01.seg.png", ("a/01", "seg.png")),
        ("./01.jpg", ("01", "jpg")),
        ("v1.0/x.txt", ("v1.0/x", "txt")),
        ("plain", ("plain", "")),
        (".hidden", (".hidden", "")),
    ],
)
def test_names_are_split_at_the_first_dot_of_the_last_part(name, parts):
    assert split_name(name) == parts


def test_long_and_foreign_names_are_kept(tmp_path):
    name = "ordner/" + "ä" * 150
    write_tar(tmp_path / "set" / "0.tar", [(name + ".jpg", encoded(0, "jpeg")), (name + ".txt", b"words")])
    assert opened(tmp_path / "set", tmp_path)[0, 0].key == f"0.tar/{name}"
