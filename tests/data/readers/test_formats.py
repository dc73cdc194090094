"""Every format in its real layout: recognised, read in any order, and brought to the same normal form."""

from __future__ import annotations

import pickle

import pytest

from tests.data.readers import makers
from tests.data.readers.makers import held, picture, words
from unimm.data.pictures import open_picture
from unimm.data.readers import READERS, Guess, open_source, sniff
from unimm.data.samples import Source
from unimm.parts import Text


def metaquery(folder):
    makers.write_parquet(folder / "data" / "train-00000-of-00001.parquet", makers.metaquery_rows())
    return folder


def metaquery_saved(folder):
    """Write what `save_to_disk` writes, pictures as its image columns."""
    import datasets

    columns = {
        "source_images": datasets.List(datasets.Image()),
        "target_image": datasets.Image(),
        "prompt": datasets.Value("string"),
    }
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(makers.metaquery_rows(), features=datasets.Features(columns))
    rows.save_to_disk(str(folder))
    return folder


def saw(number):
    return ("see", number)


def drew(number):
    return ("draw", number)


ASKED = "Please generate image based on the following caption: "
OURS = "Generate an image of "
LLAVA = {
    (0, 0): [("user", saw(1), "What is in picture 1?"), ("assistant", words(1))],
    (0, 1): [("user", "What is it?", saw(2)), ("assistant", "It.")],
    (0, 2): [("user", "Hello"), ("assistant", "Hi.")],
    (0, 3): [("user", saw(1), saw(2), "Compare."), ("assistant", "No.")],
}
MIXED = [("user", saw(2), saw(3), "mix 2"), ("assistant", drew(4))]
SHARED = {
    (0, 1): [("user", saw(1), "change 1"), ("assistant", drew(11))],
    (1, 0): [("user", words(0)), ("assistant", drew(0))],
}
# name: how it is written, the format it is, its shards, the options, and turns at some places
FORMATS = {
    "blip3o": (makers.blip3o, "blip3o", (3, 3), {}, {
        (1, 2): [("user", ASKED + words(102)), ("assistant", drew(102))]}),
    "blip3o_json": (lambda f: makers.blip3o(f, with_json=True), "blip3o", (3, 3), {"task": "describe"}, {
        (1, 2): [("user", saw(102), "Describe this image."), ("assistant", words(102))]}),
    "scale_rae": (makers.scale_rae, "scale_rae", (3, 3), {}, {
        (0, 1): [("user", f"Generate a picture of {words(1)}"), ("assistant", "Here you go:", drew(1))],
        (1, 2): [("user", saw(102), "What is in picture 102?"), ("assistant", words(102))]}),
    "scale_rae_tars": (lambda f: makers.scale_rae(f) / "tars", "scale_rae", (3, 3), {}, {
        (1, 0): [("user", f"Generate a picture of {words(100)}"), ("assistant", "Here you go:", drew(100))]}),
    "scale_rae_lines": (makers.scale_rae_lines, "scale_rae", (3,), {}, {
        (0, 2): [("user", f"Generate a picture of {words(2)}"), ("assistant", "Here you go:", drew(2))]}),
    "llava": (makers.llava, "llava", (4,), {}, LLAVA),
    "cambrian": (lambda f: makers.llava(f, lines=True), "llava", (4,), {}, LLAVA),
    "llava_onevision": (makers.onevision, "llava", (2, 2, 1), {}, {
        (2, 0): [("user", saw(4), "What is in picture 4?"), ("assistant", words(4))]}),
    "bagel_t2i": (makers.bagel_t2i, "bagel_t2i", (2, 1, 2), {}, {
        (2, 1): [("user", words(4)), ("assistant", drew(4))]}),
    "bagel_edit": (makers.bagel_edit, "bagel_edit", (2, 1), {}, {
        (1, 0): [("user", saw(2), "make it so"), ("assistant", drew(3)), ("user", "now so"),
                 ("assistant", drew(4))]}),
    "metaquery": (metaquery, "metaquery", (2, 1), {}, {(1, 0): MIXED}),
    "metaquery_saved": (metaquery_saved, "metaquery", (3,), {}, {(0, 2): MIXED}),
    "omniedit": (makers.omniedit, "omniedit", (2, 1), {"split": "train"}, {
        (0, 1): [("user", saw(1), "turn 1 into 2"), ("assistant", drew(2))]}),
    "sharegpt4o": (makers.sharegpt4o, "sharegpt4o", (2, 2), {}, SHARED),
    "sharegpt4o_tars": (lambda f: makers.sharegpt4o(f, tars=True), "sharegpt4o", (2, 2), {}, SHARED),
    "messages": (makers.messages, "messages", (3,), {}, {
        (0, 0): [("system", "Be brief."), ("user", saw(1), "What is it?"), ("assistant", words(1))],
        (0, 1): [("user", "Draw it."), ("assistant", drew(2))],
        (0, 2): [("user", saw(1), "Make it red."), ("assistant", drew(2))]}),
    "imagenet": (makers.imagenet, "imagenet", (2, 3), {}, {
        (1, 2): [("user", OURS + "n01443537"), ("assistant", drew(2))]}),
    "captions": (makers.captions, "captions", (3,), {}, {
        (0, 1): [("user", OURS + words(1)), ("assistant", drew(1))]}),
}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_and_read(tmp_path, cache, name):
    make, kind, shards, options, places = FORMATS[name]
    path = make(tmp_path / "set")
    split = {key: options[key] for key in options if key == "split"}
    guess = sniff(path, **split)
    assert isinstance(guess, Guess)
    assert guess.format == kind
    assert guess.why
    assert guess.left_out == ()
    source = open_source(path, **options)
    assert isinstance(source, Source)
    assert source.shards == shards
    assert len(source) == sum(shards)
    assert source.random_access
    assert source.faults == ()
    told = open_source(path, format=kind, **options)
    for place, turns in places.items():
        expect_turns(source[place], turns)
        assert told[place] == source[place] == pickle.loads(pickle.dumps(source))[place]
    keys = [source[shard, row].key for shard, rows in enumerate(shards) for row in range(rows)]
    assert len(set(keys)) == len(source)


def expect_turns(sample, expected):
    assert [turn.role for turn in sample.turns] == [role for role, *_ in expected]
    for turn, (_, *parts) in zip(sample.turns, expected, strict=True):
        assert len(turn.parts) == len(parts)
        for part, wanted in zip(turn.parts, parts, strict=True):
            if isinstance(wanted, str):
                assert part == Text(wanted)
                continue
            assert part.target == (wanted[0] == "draw")
            assert_shows(open_picture(part.image, sample.key), wanted[1])


def assert_shows(found, number):
    """Compare loosely: some were written as JPEG, which is not exact."""
    import numpy as np

    wanted = np.asarray(picture(number), dtype=float)
    assert found.size == picture(number).size
    assert np.abs(np.asarray(found, dtype=float) - wanted).mean() < 2


def test_the_pictures_of_the_tests_differ_by_more_than_jpeg_does():
    import numpy as np

    numbers = [*range(12), *range(100, 103)]
    drawn = [np.asarray(picture(number), dtype=float) for number in numbers]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.abs(one - other).mean() > 4


def test_every_reader_is_among_the_tested():
    tested = {kind for _, kind, *_ in FORMATS.values()}
    assert set(READERS) - tested == {"sharegpt4v", "cambrian", "llava_onevision"}  # written as llava is


@pytest.mark.parametrize("name", ["sharegpt4v", "cambrian", "llava_onevision"])
def test_names_of_llavas_kin_open_it(tmp_path, cache, name):
    source = open_source(makers.llava(tmp_path / "set"), format=name)
    expect_turns(source[0, 3], LLAVA[0, 3])


def test_several_captions_are_wordings_and_none_is_drawn_by_lot(tmp_path, cache):
    sample = open_source(makers.bagel_t2i(tmp_path / "set"))[0, 1]
    assert list(sample.wordings) == ["long", "short"]
    assert [sample.picked(number).texts for number in range(3)] == [(words(1),), ("picture 1",), (words(1),)]
    assert sample.worded("short").images == sample.images


def test_edits_take_each_steps_wordings_in_turn(tmp_path, cache):
    sample = open_source(makers.bagel_edit(tmp_path / "set"))[0, 0]
    assert [sample.picked(number).texts for number in range(2)] == [
        ("make it so", "now so"),
        ("do it so", "now so"),
    ]


def test_the_last_of_omniedits_prompts_is_meant(tmp_path, cache):
    sample = open_source(makers.omniedit(tmp_path / "set"), split="dev")[0, 0]
    assert sample.texts == ("turn 0 into 1",)
    assert list(sample.wordings) == ["1", "0"]
    assert sample.worded("0").texts == ("first try",)


def test_classes_have_labels_and_names_from_a_file(tmp_path, cache):
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


def test_pictures_beside_the_classes_are_refused(tmp_path, cache):
    folder = makers.imagenet(tmp_path / "set")
    makers.write_pictures(folder, [("stray.png", 0)])
    with pytest.raises(ValueError, match=r"in folders of classes, got 'stray.png' beside"):
        open_source(folder, format="imagenet")


def test_templates_are_options(tmp_path, cache):
    path = makers.captions(tmp_path / "set")
    assert open_source(path, template="Draw {caption}!")[0, 0].texts == (f"Draw {words(0)}!",)
    with pytest.raises(ValueError, match="expected one {caption} in it, got 'Draw'"):
        open_source(path, template="Draw")


def test_braces_in_captions_are_words(tmp_path, cache):
    path = makers.captions(tmp_path / "set")
    (path / "sub" / "0.txt").write_text("{caption} {0} {x!r}")
    assert open_source(path, template="Draw {caption}")[0, 0].texts == ("Draw {caption} {0} {x!r}",)


def test_an_unknown_format_says_what_was_looked_for(tmp_path, cache):
    (tmp_path / "set").mkdir()
    makers.write_lines(tmp_path / "set" / "rows.jsonl", [{"caption": "x", "url": "http"}])
    (tmp_path / "set" / "bad.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ValueError, match="no known format") as caught:
        open_source(tmp_path / "set")
    said = str(caught.value)
    assert "Found a folder with 1 .jsonl, 1 .parquet; rows.jsonl with caption, url" in said or (
        "rows.jsonl with caption, url" in said
    )
    assert "bad.parquet cannot be read: not readable as parquet" in said
    assert "blip3o: tars of <key>.jpg and <key>.txt" in said
    assert "llava / sharegpt4v / cambrian / llava_onevision: rows with 'conversations'" in said


def test_mistakes_are_told(tmp_path, cache):
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


def test_files_of_another_format_beside_are_left_out_and_named(tmp_path, cache):
    path = makers.llava(tmp_path / "set")
    makers.write_lines(path.parent / "notes.jsonl", [{"a": 1}])
    guess = sniff(path.parent)
    assert guess.paths == (path,)
    assert guess.left_out == ("notes.jsonl",)


def test_a_manifest_is_checked(tmp_path, cache):
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


def test_a_saved_set_of_splits_asks_for_one(tmp_path, cache):
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": "x"}])
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "set"))
    from unimm.data.readers.arrow import Arrows

    with pytest.raises(ValueError, match="expected one split, got train; name "):
        Arrows(tmp_path / "set")


def test_pictures_may_stand_in_several_places(tmp_path, cache):
    path = makers.llava(tmp_path / "set")
    (path.parent / "gqa").rename(tmp_path / "gqa")
    source = open_source(path, images=[path.parent, tmp_path])
    expect_turns(source[0, 3], LLAVA[0, 3])


def test_bytes_and_paths_are_both_pictures(tmp_path, cache):
    rows = [
        {"image": held(3), "conversations": makers.talk(3)},
        {"image": None, "conversations": makers.talk(3, "")},
    ]
    source = open_source(makers.write_parquet(tmp_path / "rows.parquet", rows))
    assert_shows(open_picture(source[0, 0].images[0].image, ""), 3)
    assert source[0, 1].images == ()
