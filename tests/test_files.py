"""Files from strangers: what is read comes back as stored; nothing else runs, unpacks or is believed."""

from __future__ import annotations

import argparse
import io
import pickle
import random
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from unimm.files import expect_sha256, read_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert found[name].dtype == x.dtype
        assert torch.equal(found[name], x)


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "w"])
def test_safetensors_are_known_by_their_bytes(tmp_path, name):
    save_file(STATE, tmp_path / name)
    same(read_tensors(tmp_path / name), STATE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w"])
def test_files_of_torch_of_both_ages(tmp_path, name, zipped):
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=zipped)
    same(read_tensors(tmp_path / name), STATE)


def test_a_checkpoint_comes_back_nested_as_stored(tmp_path):
    stored = {"ema": STATE, "step": 7, "mean": None, "list": [STATE["a.bias"], "text"]}
    torch.save(stored, tmp_path / "w.pt")
    found = read_tensors(tmp_path / "w.pt")
    same(found["ema"], STATE)
    assert (found["step"], found["mean"], found["list"][1]) == (7, None, "text")


def test_a_zip_is_mapped_not_copied(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "w.pt")
    asked, load = [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda *path, **options: asked.append(options) or load(*path, **options)
    )
    same(read_tensors(tmp_path / "w.pt"), STATE)
    assert asked == [{"map_location": "cpu", "weights_only": True, "mmap": True}]


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at .*w.pt"):
        read_tensors(tmp_path / "w.pt")
    with pytest.raises(ValueError, match="found a folder"):
        read_tensors(tmp_path)
    (tmp_path / "w.pt").touch()
    with pytest.raises(ValueError, match="found an empty one; fetch it again"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "stands for a file in Git LFS"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"GGUF\x03\x00", "expected safetensors or a file of torch, it begins with b'GGUF"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path, start, said):
    (tmp_path / "w.pt").write_bytes(start)
    with pytest.raises(ValueError, match=said):
        read_tensors(tmp_path / "w.pt")


def write_safetensors(path):
    save_file(STATE, path)


def write_zip(path):
    torch.save(STATE, path)


def write_pickle(path):
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


WRITERS = {"safetensors": write_safetensors, "zip": write_zip, "pickle": write_pickle}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, kind, share):
    path = tmp_path / f"w.{kind}"
    WRITERS[kind](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="cut short"):
        read_tensors(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_above_the_cap_is_refused_with_both_sizes(tmp_path, kind):
    path = tmp_path / f"w.{kind}"
    WRITERS[kind](path)
    size = path.stat().st_size
    read_tensors(path, max_bytes=size)
    said = rf"w\.{kind}: expected at most {size - 1} bytes, the file has {size}; .*max_bytes={size}"
    with pytest.raises(ValueError, match=said):
        read_tensors(path, max_bytes=size - 1)


@pytest.mark.parametrize("kind", WRITERS)
def test_broken_bytes_are_refused_in_words(tmp_path, kind):
    """Whatever a parser makes of a byte that fell over: the content, or a ValueError that names the file."""
    WRITERS[kind](tmp_path / "whole")
    whole, generator = (tmp_path / "whole").read_bytes(), random.Random(0)
    said = {}
    for i in range(150):
        broken, path = bytearray(whole), tmp_path / str(i)
        for _ in range(3):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        path.write_bytes(broken)
        try:
            read_tensors(path)
        except ValueError as error:
            said[str(path)] = str(error)
    assert len(said) > 20
    assert all(path in message for path, message in said.items())


def test_a_zip_of_a_later_version_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    whole = bytearray((tmp_path / "w.pt").read_bytes())
    whole[whole.index(b"PK\x01\x02") + 6] = 143  # version needed, in the directory
    (tmp_path / "w.pt").write_bytes(whole)
    with pytest.raises(ValueError, match="zip file version 14.3"):
        read_tensors(tmp_path / "w.pt")


class Bomb:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run_but_named(tmp_path, zipped):
    stored = {"ema": STATE, "args": Bomb(tmp_path / "ran")}
    torch.save(stored, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"asks for (io|_io|builtins)\.open, and code in it is not run"):
        read_tensors(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_every_class_that_training_left_in_is_named(tmp_path):
    stored = {"ema": STATE, "args": argparse.Namespace(lr=1e-4), "when": io.BytesIO(b"")}
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(
        ValueError, match=r"asks for _io\.BytesIO, argparse\.Namespace, .*save its tensors alone"
    ):
        read_tensors(tmp_path / "w.pt")


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": Bomb(tmp_path / "ran")}, protocol=2))
    with pytest.raises(ValueError, match="code in it is not run|Code in it is not"):
        read_tensors(tmp_path / "w.pkl")
    assert not (tmp_path / "ran").exists()


def test_an_archive_of_code_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt", "a") as archive:
        archive.writestr("w/constants.pkl", pickle.dumps(()))
    with pytest.raises(ValueError, match="of an archive of code save the state dict alone"):
        read_tensors(tmp_path / "w.pt")


def test_content_without_names_is_refused(tmp_path):
    torch.save([1], tmp_path / "w.pt")
    with pytest.raises(ValueError, match="expected names of tensors, got list"):
        read_tensors(tmp_path / "w.pt")


def repacked(path, compression, extra=0):
    """Write the zip anew, compressed and with so many zeros more."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        if extra:
            archive.writestr("w/data/9", bytes(extra))


def test_a_zip_that_unpacks_to_more_than_the_cap_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    torch.save(STATE, path)
    repacked(path, zipfile.ZIP_DEFLATED, extra=10**7)
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(ValueError, match=r"at most 1000000 bytes, it unpacks to 100\d{5}"):
        read_tensors(path, max_bytes=10**6)


def test_a_compressed_zip_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    repacked(tmp_path / "w.pt", zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="expected a file as torch writes it, got compressed w/"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path, zipped):
    stored = {"w": torch.zeros(1).expand(1000, 1000)}
    torch.save(stored, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"one of shape \[1000, 1000\] and 4000000 bytes of which 4 are"):
        read_tensors(tmp_path / "w.pt")


def test_many_views_of_one_storage_count_together(tmp_path):
    x = torch.zeros(1000)
    torch.save({str(i): x.view(1000) for i in range(100)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="at most 100000 bytes, the tensors have 400000"):
        read_tensors(tmp_path / "w.pt", max_bytes=100_000)


@pytest.mark.parametrize(
    "x", [torch.eye(2).to_sparse(), torch.empty(2, device="meta")], ids=["sparse", "without storage"]
)
def test_tensors_that_are_not_plain_are_refused(tmp_path, x):
    torch.save({"w": x}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="expected plain tensors, got Tensor"):
        read_tensors(tmp_path / "w.pt")


def test_a_nest_that_holds_itself_is_read(tmp_path):
    stored = {"w": torch.ones(1)}
    stored["again"] = stored
    torch.save(stored, tmp_path / "w.pt")
    assert torch.equal(read_tensors(tmp_path / "w.pt")["again"]["again"]["w"], torch.ones(1))


def test_a_header_of_safetensors_that_claims_more_than_there_is(tmp_path):
    path = tmp_path / "w.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match="not readable as safetensors, cut short"):
        read_tensors(path)
    path.write_bytes(struct.pack("<Q", 2**60) + header)
    with pytest.raises(ValueError, match="not readable as safetensors, cut short"):
        read_tensors(path)


def test_a_file_is_the_published_one_or_refused(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, of "abc"
    expect_sha256(path, digest)
    expect_sha256(path, digest[:8])
    with pytest.raises(ValueError, match=f"begins with 00000000, got {digest}"):
        expect_sha256(path, "00000000")
    with pytest.raises(FileNotFoundError, match="no file at"):
        expect_sha256(tmp_path / "none", digest)
