"""Every format in its real layout: recognised, read in any order, and brought to the same normal form."""

from __future__ import annotations

import pickle

import pytest

from tests.data.readers import makers
from tests.data.readers.makers import picture, words
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
