"""Indexes on disk: read where they are, and made again if they are not well."""

from __future__ import annotations

import json
import random
import zipfile

import numpy as np
import pytest

from tests.data.readers.makers import write_tar
from unimm.data.readers import index, jsons, mapped
from unimm.data.readers.index import index_of
from unimm.data.readers.jsons import Jsons
from unimm.data.readers.mapped import HELD, Mapped
from unimm.data.readers.tars import Tars

ARRAYS = {"a": np.arange(7), "b": np.array(3), "c": np.zeros(0, np.uint8), "d": np.arange(5, dtype=np.uint8)}


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    return tmp_path / "a.npz"


def kept_of(path, cache):
    """Return an index whose build says how often it was made, in `times`."""
    times = []

    def build(path, advance):
        times.append(path)
        return {"num_rows": np.array(3), "start": np.arange(3) * 10}

    return index_of(path, "test 1", build, cache), times


def test_arrays_are_those_that_numpy_reads(file):
    found = Mapped(file)
    with np.load(file) as expected:
        assert list(found) == expected.files
        for name in expected.files:
            assert np.array_equal(found[name], expected[name])
            assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0] = 1
    with pytest.raises(KeyError):
        found["z"]


def test_a_damaged_array_is_refused_when_it_is_asked_for(file):
    content = bytearray(file.read_bytes())
    content[content.index(np.arange(7).tobytes()) + 9] ^= 1
    file.write_bytes(content)
    found = Mapped(file)
    assert found["b"] == 3
    with pytest.raises(zipfile.BadZipFile, match="its checksum is another"):
        found["a"]
    for cut in (0, 40, len(content) - 30):
        file.write_bytes(content[:cut])
        with pytest.raises(zipfile.BadZipFile):
            Mapped(file)


def test_arrays_that_are_compressed_or_hold_objects_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **ARRAYS)
    with pytest.raises(zipfile.BadZipFile, match="stored as it is"):
        Mapped(tmp_path / "a.npz")["a"]
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object))
    with pytest.raises(zipfile.BadZipFile, match="expected plain numbers"):
        Mapped(tmp_path / "b.npz")["a"]


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
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("an index was loaded"))
    places = [(shard, row) for shard in range(80) for row in range(2)] * 2
    random.Random(0).shuffle(places)
    for shard, row in places:
        found = rows.row(shard, row)
        if kind is Tars:
            assert found["txt"].size == (1 if row else shard)
        else:
            assert found == {"n": [shard, row]}


def test_only_so_many_files_are_held(tmp_path, monkeypatch):
    for number in range(HELD + 9):
        np.savez(tmp_path / f"{number}.npz", a=np.array([number]))
    found = [Mapped(tmp_path / f"{number}.npz") for number in range(HELD + 9)]
    assert [int(each["a"][0]) for each in found] == list(range(HELD + 9))
    assert mapped._opened.cache_info().currsize == HELD
    assert int(found[0]["a"][0]) == 0


def test_an_index_that_goes_or_breaks_under_way_is_made_again(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.write_bytes(b"x" * 100)
    found, times = kept_of(data, cache)
    (kept,) = cache.iterdir()
    for change in (kept.unlink, lambda: kept.write_bytes(b"PK rubbish")):
        mapped._opened.cache_clear()
        before = len(times)
        change()
        assert found["start"].tolist() == [0, 10, 20]
        assert len(times) == before + 1
    content = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(content)  # another process has made the same one
    mapped._opened.cache_clear()
    assert found["start"].tolist() == [0, 10, 20]
    assert len(times) == 3
    assert list(found) == ["num_rows", "start"]


def test_rows_of_a_file_that_has_changed_since_are_refused(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.write_bytes(b"x" * 100)
    found, _ = kept_of(data, cache)
    data.write_bytes(b"x" * 101)
    next(cache.iterdir()).unlink()
    mapped._opened.cache_clear()
    with pytest.raises(ValueError, match="changed while it was read, from .100, .* to .101, .*open it again"):
        found["start"]


def test_a_changed_file_is_found_anew_when_it_is_opened_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    assert jsons.Jsons([path], tmp_path / "cache").shards == (1,)
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert jsons.Jsons([path], tmp_path / "cache").row(0, 1) == {"a": 2}
