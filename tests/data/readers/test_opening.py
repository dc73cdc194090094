"""Opening data sets: names, templates, splits and places of pictures; and what is said of a mistake."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tests.data.readers import makers
from tests.data.readers.makers import held, picture, talk, words
from unimm.data.pictures import open_picture
from unimm.data.readers import open_source, sniff
from unimm.data.samples import BrokenSample
from unimm.data.talks import SourceSettings, mixed

OURS = "Generate an image of "


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def test_classes_have_labels_and_names_from_a_file(tmp_path):
    folder = makers.imagenet(tmp_path / "set")
    names = tmp_path / "LOC_synset_mapping.txt"
    names.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
    source = open_source(folder, names=names)
    assert (source[0, 0].label, source[1, 0].label) == (0, 1)
    assert source[1, 0].texts == (OURS + "goldfish",)
    (tmp_path / "names.json").write_text('{"n01440764": "tench"}')
    with pytest.raises(ValueError, match="none for 1, first n01443537"):
        open_source(folder, names=tmp_path / "names.json")
    names.write_text("n01440764\n")
    with pytest.raises(ValueError, match="expected 'folder name' in each line, got 'n01440764'"):
        open_source(folder, names=names)
    with pytest.raises(FileNotFoundError, match="names: no file"):
        open_source(folder, names=tmp_path / "nowhere")


def test_pictures_beside_the_classes_are_refused(tmp_path):
    folder = makers.imagenet(tmp_path / "set")
    makers.write_pictures(folder, [("stray.png", 0)])
    with pytest.raises(ValueError, match=r"in folders of classes, got 'stray.png' beside"):
        open_source(folder, format="imagenet")


def test_templates_are_options(tmp_path):
    path = makers.captions(tmp_path / "set")
    assert open_source(path, template="Draw {caption}!")[0, 0].texts == (f"Draw {words(0)}!",)
    with pytest.raises(ValueError, match="expected one {caption} in it, got 'Draw'"):
        open_source(path, template="Draw")


def test_braces_in_captions_are_words(tmp_path):
    path = makers.captions(tmp_path / "set")
    (path / "sub" / "0.txt").write_text("{caption} {0} {x!r}")
    assert open_source(path, template="Draw {caption}")[0, 0].texts == ("Draw {caption} {0} {x!r}",)


def test_an_unknown_format_says_what_was_looked_for(tmp_path):
    (tmp_path / "set").mkdir()
    makers.write_lines(tmp_path / "set" / "rows.jsonl", [{"caption": "x", "url": "http"}])
    (tmp_path / "set" / "bad.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ValueError, match="no known format") as caught:
        open_source(tmp_path / "set")
    said = str(caught.value)
    assert "Found a folder with 1 .parquet, 1 .jsonl; rows.jsonl with caption, url" in said
    assert "bad.parquet cannot be read: not readable as parquet" in said
    assert "blip3o: tars of <key>.jpg and <key>.txt" in said
    assert "llava / sharegpt4v / cambrian / llava_onevision: rows with 'conversations'" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"question": 1, "answer": 2}', "a file .jsonl; a.jsonl with question, answer. Looked"),
        ("a.json", b"[]", "a file .json; a.json without objects. Looked"),
        ("a.tar", b"", "a.tar cannot be read: empty file. Looked"),
        ("a.tar", gzip.compress(b"x", mtime=0), "a.tar cannot be read: .*; it is compressed by gzip, unpack"),
    ],
)
def test_an_unknown_file_says_what_is_in_it(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        sniff(tmp_path / name)


def test_a_tar_of_other_things_and_one_nested_beyond_reason_are_unknown(tmp_path):
    tar = makers.write_tar(tmp_path / "a.tar", [("0.cls", b"3"), ("0.npy", b"x")])
    with pytest.raises(
        ValueError, match="no known format. Found a file .tar; a.tar with <key>.cls, <key>.npy"
    ):
        sniff(tar)
    tar = makers.write_tar(tmp_path / "b.tar", [("0.json", b"[" * 200_000), ("0.png", b"x")])
    with pytest.raises(ValueError, match="b.tar cannot be read: 0: 0.json: not readable as JSON"):
        sniff(tar)


def test_mistakes_are_told(tmp_path):
    path = makers.llava(tmp_path / "set")
    with pytest.raises(ValueError, match="format: expected one of .* did you mean 'llava'"):
        open_source(path, format="lava")
    with pytest.raises(
        ValueError, match="option of llava: expected one of cache, images, unmarked, got 'image'"
    ):
        open_source(path, image=tmp_path)
    with pytest.raises(ValueError, match="unmarked: expected one of refuse, first"):
        open_source(path, unmarked="drop")
    with pytest.raises(FileNotFoundError, match="data: nothing at"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="images: no folder or tar at"):
        open_source(path, images=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="blip3o|tars of <key>.jpg"):
        open_source(path, format="blip3o")
    with pytest.raises(ValueError, match="holds the splits dev, train; name one with split="):
        open_source(makers.omniedit(tmp_path / "edits"))
    with pytest.raises(ValueError, match="split: expected one of dev, train, got 'test'"):
        open_source(tmp_path / "edits", split="test")


def test_two_sources_of_parquet_read_each_row_group_once(tmp_path, monkeypatch):
    from pyarrow.parquet import ParquetFile

    for name in "ab":
        rows = [{"messages": [{"role": "assistant", "content": f"{name} {n}"}]} for n in range(60)]
        makers.write_parquet(tmp_path / name / "rows.parquet", rows, group=5)
    given = [SourceSettings(str(tmp_path / name)) for name in "ab"]
    sources = [each.open() for each in given]
    read, kept = [], ParquetFile.read_row_group
    monkeypatch.setattr(
        ParquetFile,
        "read_row_group",
        lambda file, group, **how: read.append(group) or kept(file, group, **how),
    )
    places = mixed(sources, given, 0).locate(np.arange(120))
    found = {sources[s][shard, row].texts for s, shard, row in zip(*places[:3], strict=True)}
    assert found == {(f"{name} {n}",) for name in "ab" for n in range(60)}
    assert sorted(read) == sorted(2 * list(range(12)))


def test_the_first_row_may_be_large(tmp_path):
    row = {"conversations": talk(1, marker="") + [{"from": "gpt", "value": "x" * 100_000}]}
    assert sniff(makers.write_lines(tmp_path / "rows.jsonl", [row])).format == "llava"


def test_a_source_without_samples_is_named(tmp_path):
    (tmp_path / "none.json").write_text("[]")
    given = SourceSettings(str(tmp_path / "none.json"), "llava")
    with pytest.raises(
        ValueError, match=r"data.sources: .*none.json: expected at least one sample, found none"
    ):
        mixed([given.open()], [given], 0)


def test_files_of_another_format_beside_are_left_out_and_named(tmp_path):
    path = makers.llava(tmp_path / "set")
    makers.write_lines(path.parent / "notes.jsonl", [{"a": 1}])
    guess = sniff(path.parent)
    assert guess.paths == (path,)
    assert guess.left_out == ("notes.jsonl",)


def test_a_manifest_is_checked(tmp_path):
    folder = makers.scale_rae(tmp_path / "set")
    manifest = folder / "wds_manifest.json"
    assert open_source(manifest).shards == (3, 3)
    (folder / "tars" / "shard-1.tar").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 tars are not there, first .*shard-1.tar"):
        open_source(folder)
    for text, said in [
        ("{}", "expected a key 'tars'"),
        ('{"tars": []}', "expected a list of paths"),
        ("{", "JSON"),
    ]:
        manifest.write_text(text)
        with pytest.raises(ValueError, match=said):
            open_source(folder)


def test_a_saved_set_of_splits_asks_for_one(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": "x"}])
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "set"))
    from unimm.data.readers.arrow import Arrows

    with pytest.raises(ValueError, match="expected one split, got train; name "):
        Arrows(tmp_path / "set")


def test_pictures_may_stand_in_several_places(tmp_path):
    path = makers.llava(tmp_path / "set")
    (path.parent / "gqa").rename(tmp_path / "gqa")
    source = open_source(path, images=[path.parent, tmp_path])
    shown = [open_picture(image.image, "").tobytes() for image in source[0, 3].images]
    assert shown[1] == picture(2).tobytes()


def test_bytes_and_paths_are_both_pictures(tmp_path):
    rows = [
        {"image": held(3), "conversations": talk(3)},
        {"image": None, "conversations": talk(3, "")},
    ]
    source = open_source(makers.write_parquet(tmp_path / "rows.parquet", rows))
    assert open_picture(source[0, 0].images[0].image, "").tobytes() == picture(3).tobytes()
    assert source[0, 1].images == ()


def test_parquet_of_a_folder_is_one_table(tmp_path):
    makers.bagel_t2i(tmp_path / "set")
    makers.write_parquet(tmp_path / "set" / "c.parquet", [{"url": "x"}])
    source = open_source(tmp_path / "set")
    assert source.shards == (2, 1, 2, 1)
    with pytest.raises(BrokenSample, match="c.parquet:0: expected a key 'image', got 'url'"):
        source[3, 0]
