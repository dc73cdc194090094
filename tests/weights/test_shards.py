"""Headers tell what a folder holds; whatever bytes stand there, nothing but a plain refusal comes back."""

from __future__ import annotations

import json
import random
import struct
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from unimm.weights.shards import parse_header, read_header, shards_in, stored_tensors


def header(rows, data=b"") -> bytes:
    text = json.dumps(rows).encode()
    return struct.pack("<Q", len(text)) + text + data


def row(**changes):
    return {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | changes


def test_a_header_tells_names_shapes_dtypes_and_the_size_of_its_file(tmp_path):
    state = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros((), dtype=torch.int64),
    }
    save_file(state, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_header(tmp_path / "x.safetensors")
    assert {n: (x.shape, x.dtype) for n, x in found.tensors.items()} == {
        n: (x.shape, x.dtype) for n, x in state.items()
    }
    assert all(x.is_meta for x in found.tensors.values())
    assert found.size == (tmp_path / "x.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"", "found 0 bytes"),
        (b"1234567", "found 7 bytes"),
        (b"version https://git-lfs", "stands for a file in Git LFS"),
        (struct.pack("<Q", 2**60), "it begins with"),
        (header({"a": row()})[:20], "cut short inside its header"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "its header is damaged"),
        (header([]), "its header is damaged"),
        (header({"a": row(dtype="F3")}), "dtype 'F3'"),
        (header({"a": row(shape=[-1])}), "its header is damaged"),
        (header({"a": row(shape=[2**40, 2**40])}), "its header is damaged"),
        (header({"a": row(data_offsets=[0])}), "its header is damaged"),
        (header({"a": {"dtype": "F32"}}), "its header is damaged"),
    ],
)
def test_what_is_no_header_is_refused_by_name(start, words):
    with pytest.raises(ValueError, match=words) as error:
        parse_header(start, "somewhere/x.safetensors")
    assert str(error.value).startswith("somewhere/x.safetensors: ")


def test_random_damage_is_told_or_harmless(tmp_path):
    save_file({f"layer.{i}": torch.zeros(i + 1, 2) for i in range(4)}, tmp_path / "x.safetensors")
    whole, rng = (tmp_path / "x.safetensors").read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(ValueError):  # any other error is a bug
            parse_header(bytes(damaged[: rng.randrange(len(damaged))]), "x")


def test_an_index_that_names_files_elsewhere_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../x.safetensors"}})
    )
    with pytest.raises(ValueError, match="expected names of files beside it, got ../x.safetensors"):
        shards_in(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'])
def test_what_is_no_index_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match="expected a JSON index"):
        shards_in(tmp_path)


def test_a_tensor_in_two_files_is_told(tmp_path):
    for name in ("1", "2"):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    faults = shards_in(tmp_path).faults
    assert faults["stored twice"] == ["a (again in 2.safetensors)"]


def test_a_file_with_more_behind_its_tensors_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with (tmp_path / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="longer than their header says"):
        stored_tensors(tmp_path)


def test_each_file_stays_below_the_size_cap(tmp_path):
    save_file({"a": torch.zeros(100)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="expected at most 50 bytes"):
        stored_tensors(tmp_path, max_bytes=50)
