"""Indexes on disk: read where they are, and made again if they are not well."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest

from tests.data.readers.makers import write_tar
from unimm.data.readers import index, jsons
from unimm.data.readers.index import HELD, index_of
from unimm.data.readers.jsons import Jsons
from unimm.data.readers.tars import Tars

ARRAYS = {
    "num_rows": np.array(3),
    "start": np.arange(3) * 10,
    "none": np.zeros(0, np.uint8),
    "small": np.arange(5, dtype=np.uint8),
}


@pytest.fixture
def kept(tmp_path):
    """What opens the index of a file, which says how often it was made; the file; and where indexes are."""
    data, cache, times = tmp_path / "data", tmp_path / "cache", []
    data.write_bytes(b"x" * 100)

    def build(path, advance):
        times.append(path)
        return ARRAYS

    index._mapped.cache_clear()
    return lambda: index_of(data, "test 1", build, cache), times, data, cache


def test_arrays_come_back_read_only_and_are_made_once(kept):
    opened, times, *_ = kept
    for _ in range(2):
        found = opened()
        assert {*found} == {*ARRAYS}
        for name, array in ARRAYS.items():
            assert np.array_equal(found[name], array)
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        with pytest.raises(ValueError, match="read-only"):
            found["start"][0] = 1
    assert len(times) == 1


def mapped_only(file, mmap_mode=None, load=np.load, **options):
    assert mmap_mode == "r", "an index was loaded"
    return load(file, mmap_mode, **options)


@pytest.mark.parametrize("kind", [Jsons, Tars])
def test_no_index_is_loaded_for_a_row_however_many_shards_there_are(tmp_path, monkeypatch, kind):
    paths = [tmp_path / f"{n}.{kind.__name__}" for n in range(80)]
    for number, path in enumerate(paths):
        if kind is Tars:
            write_tar(path, [("a.txt", b"x" * number), ("b.txt", b"y")])
        else:
            path.write_text("".join(json.dumps({"n": [number, row]}) + "\n" for row in range(2)))
    rows = kind(paths, tmp_path / "cache")
    monkeypatch.setattr(index, "index_path", lambda *_: pytest.fail("an index was looked for again"))
    monkeypatch.setattr(np, "load", mapped_only)
    places = [(shard, row) for shard in range(80) for row in range(2)] * 2
    random.Random(0).shuffle(places)
    for shard, row in places:
        found = rows.row(shard, row)
        if kind is Tars:
            assert found["txt"].size == (1 if row else shard)
        else:
            assert found == {"n": [shard, row]}


def test_only_so_many_files_are_held(tmp_path):
    for number in range(HELD + 9):
        np.save(tmp_path / f"{number}.npy", np.array([number]))
    found = [index._mapped(tmp_path / f"{number}.npy") for number in range(HELD + 9)]
    assert [int(each[0]) for each in found] == list(range(HELD + 9))
    assert index._mapped.cache_info().currsize == HELD


def test_a_damaged_index_is_made_again(kept):
    opened, times, _, cache = kept
    for number, rubbish in enumerate((b"", b"rubbish", None), start=1):
        opened()
        (start,) = cache.rglob("start.npy")
        start.write_bytes(start.read_bytes()[:-1] if rubbish is None else rubbish)
        assert opened()["start"].tolist() == [0, 10, 20]
        assert len(times) == number + 1


def test_an_index_that_was_removed_under_way_is_told(kept):
    opened, _, _, cache = kept
    found = opened()
    shutil.rmtree(cache)
    with pytest.raises(OSError, match="start.npy: the index is gone; open the data set again"):
        found["start"]


def test_a_file_that_changed_has_another_index_and_only_that(kept):
    opened, times, data, cache = kept
    opened()
    data.write_bytes(b"x" * 101)
    assert opened()["start"].tolist() == [0, 10, 20]
    assert len(times) == 2
    assert len(list(cache.rglob("start.npy"))) == 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    data = tmp_path / "data"
    data.write_bytes(b"x")
    with pytest.raises(ValueError, match="changed while it was read; wait till it is whole"):
        index_of(data, "test 1", lambda path, advance: path.write_bytes(b"xy") and ARRAYS, tmp_path / "cache")
    assert not list(tmp_path.rglob("*.npy"))


def test_the_first_of_several_processes_gives_its_index_to_all(kept, monkeypatch):
    opened, _, data, cache = kept
    folder = index.index_path(data, "test 1", cache)
    whole = index._put_in_place

    def late(partial, place):
        shutil.copytree(partial, place)
        whole(partial, place)

    monkeypatch.setattr(index, "_put_in_place", late)
    assert opened()["start"].tolist() == [0, 10, 20]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_changed_file_is_found_anew_when_it_is_opened_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    assert jsons.Jsons([path], tmp_path / "cache").shards == (1,)
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert jsons.Jsons([path], tmp_path / "cache").row(0, 1) == {"a": 2}
