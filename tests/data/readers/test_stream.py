"""Streams: rows as they come, ends that come early, and what skipping gives."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from tests.data.readers import makers
from tests.data.readers.makers import held, picture, talk, words
from unimm.data.pictures import open_picture
from unimm.data.readers import open_source
from unimm.data.readers.stream import HELD, Streamed
from unimm.data.samples import BrokenSample


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Let the hub be a folder: one data set, `owner/name`."""
    import datasets

    datasets.disable_progress_bars()
    rows = [{"image": held(n), "conversations": talk(n)} for n in range(6)]
    file = makers.write_parquet(tmp_path / "train.parquet", rows)
    load = datasets.load_dataset

    def local(name, subset, split, revision, streaming):
        assert (name, subset, split, revision, streaming) == ("owner/name", None, "train", None, True)
        cached = str(tmp_path / "cache")
        return load("parquet", data_files=str(file), split=split, streaming=True, cache_dir=cached)

    monkeypatch.setattr(datasets, "load_dataset", local)
    return "hf://owner/name"


@pytest.mark.parametrize("format", [None, "llava_onevision"])
def test_a_stream_is_a_source_whose_rows_are_asked_for_in_order(hub, format):
    source = open_source(hub, format=format, rows=6)
    assert not source.random_access
    assert source.shards == (6,)
    assert source.name == "owner/name"
    for row in (0, 1, 2, 5, 1):
        sample = source[0, row]
        assert sample.key == f"owner/name:{row}"
        assert sample.texts == (f"What is in picture {row}?", words(row))
        assert open_picture(sample.images[0].image, "").tobytes() == picture(row).tobytes()


def test_the_next_row_costs_no_new_stream(hub):
    source = open_source(hub, rows=6)
    opened = []
    source.rows.open = partial(lambda open: opened.append(1) or open(), source.rows.open)
    for row in (2, 3, 4, 0):
        assert source[0, row].key == f"owner/name:{row}"
    assert not opened  # the one that told the format goes on


def test_threads_and_stand_ins_do_not_begin_a_stream_anew():
    class Numbers:
        def decode(self, is_wanted):
            return self

        def skip(self, rows):
            return iter([{"row": row} for row in range(rows, 4000)])

        def __iter__(self):
            return self.skip(0)

    opened = []
    rows = Streamed("x", lambda: opened.append(1) or Numbers(), 4000)
    orders = [[0, 8, 9, 1, 2, 2, 10], range(96, 192), range(11, 96), [500, 400, 1200, 1199]]
    for row in itertools.chain(*orders):
        assert rows.row(0, row) == {"row": row}
    assert (len(opened), len(rows._held)) == (1, HELD)
    assert rows.row(0, 3500) == {"row": 3500}
    assert rows.row(0, 3) == {"row": 3}
    assert len(opened) == 3


def test_an_early_end_is_a_broken_sample(hub):
    source = open_source(hub, rows=8)
    with pytest.raises(BrokenSample, match="owner/name:7: the stream ends before row 7, 8 were promised"):
        source[0, 7]
    assert source[0, 5].key == "owner/name:5"


def test_a_stream_without_a_length_asks_for_it(hub):
    with pytest.raises(ValueError, match="the data set does not say how many rows it has; give rows="):
        open_source(hub)


def test_mistakes_are_told(hub):
    with pytest.raises(ValueError, match="expected one that is in tables, got blip3o"):
        open_source(hub, format="blip3o", rows=6)
    with pytest.raises(ValueError, match="option of llava: expected one of cache, images, .* got 'row'"):
        open_source(hub, format="llava", rows=6, row=3)


def test_a_stream_begins_anew_in_another_process(hub):
    source = open_source(hub, rows=6)
    source[0, 3]
    kept = source.rows.__getstate__()
    assert (kept["_next"], kept["_iterator"]) == (0, None)


def test_lengths_are_taken_from_what_the_data_set_says():
    class Split:
        num_examples = 17

    class Stream:
        split = "train"

        class info:
            splits = {"train": Split()}

    assert Streamed("x", Stream).shards == (17,)
