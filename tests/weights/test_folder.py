"""Our folder format: whole or absent, loaded strictly, refused with every fault named."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from unimm.weights import check_state, load_folder, load_strictly, save_folder
from unimm.weights import folder as folder_module
from unimm.weights.whole import save_whole


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    names = ("a.weight", "a.bias", "b.weight", "b.bias")
    return {name: torch.randn(10, 10, generator=generator) for name in names}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("max_shard_bytes", [400, 800, 10**6])
def test_what_is_saved_is_loaded(state, tmp_path, max_shard_bytes):
    state["a.bias"] = state["a.bias"].bfloat16()
    save_folder(state, {"depth": 2, "name": "é"}, tmp_path / "model", max_shard_bytes)
    config, loaded = load_folder(tmp_path / "model")
    assert config == {"depth": 2, "name": "é"}
    assert same(loaded, state)
    shards = list((tmp_path / "model").glob("*.safetensors"))
    assert all(path.stat().st_size < max_shard_bytes + 1000 for path in shards)  # 1000: the header
    assert (tmp_path / "model" / "model.safetensors.index.json").exists() == (len(shards) > 1)
    assert len(shards) == {400: 4, 800: 2, 10**6: 1}[max_shard_bytes]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_tensors_that_share_memory_or_are_views_are_saved(tmp_path):
    x = torch.arange(6.0).reshape(2, 3)
    save_folder({"x": x, "y": x, "z": x.T}, {}, tmp_path / "model")
    assert same(load_folder(tmp_path / "model")[1], {"x": x, "y": x, "z": x.T})


def test_an_older_folder_is_replaced_whole(state, tmp_path):
    save_folder(state, {}, tmp_path / "model", 400)
    save_folder({"only": torch.ones(2)}, {}, tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_files_may_be_read_by_whom_new_files_may_be_read_by(state, tmp_path):
    (tmp_path / "new").touch()
    save_folder(state, {}, tmp_path / "one")
    save_whole(lambda folder: save_file(state, folder / "model.safetensors"), tmp_path / "two")
    modes = {path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "new").stat().st_mode}


def test_a_folder_with_other_files_is_not_overwritten(state, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"other files: thesis\.txt"):
        save_folder(state, {}, tmp_path / "model")
    assert (tmp_path / "model" / "thesis.txt").read_text() == "years"


def test_a_full_disk_leaves_the_old_folder_and_nothing_else(state, tmp_path, monkeypatch):
    save_folder(state, {"old": True}, tmp_path / "model")

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "save_file", full)
    with pytest.raises(ValueError, match="No space left"):
        save_folder({"only": torch.ones(2)}, {}, tmp_path / "model")
    monkeypatch.undo()
    assert same(load_folder(tmp_path / "model")[1], state)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_tensor_above_the_shard_size_is_named(state, tmp_path):
    with pytest.raises(ValueError, match=r"a\.weight alone has 400 bytes, above 399"):
        save_folder(state, {}, tmp_path / "model", 399)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, r"expected config\.json"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "expected JSON"),
        (lambda f: (f / "config.json").write_text("[]"), ValueError, "JSON object, got list"),
        (lambda f: (f / "model-00002-of-00004.safetensors").unlink(), FileNotFoundError, "00002"),
        (lambda f: cut(f / "model-00002-of-00004.safetensors"), ValueError, "cut short"),
        (lambda f: rename_in_index(f, "a.bias", "c.bias"), ValueError, "missing: c.bias; unexpected: a.bias"),
        (lambda f: point_outside(f), ValueError, "names of files beside it"),
    ],
)
def test_a_broken_folder_is_refused(state, tmp_path, break_it, error, said):
    save_folder(state, {}, tmp_path / "model", 400)
    break_it(tmp_path / "model")
    with pytest.raises(error, match=said):
        load_folder(tmp_path / "model")


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def edit_index(folder, change):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def rename_in_index(folder, old, new):
    edit_index(folder, lambda names: names.update({new: names.pop(old)}))


def point_outside(folder):
    edit_index(folder, lambda names: names.update({"a.bias": "../model.safetensors"}))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        load_folder(tmp_path / "none")


def test_all_faults_are_listed_at_once_and_nothing_is_changed():
    module = nn.Linear(2, 3)
    before = module.weight.detach().clone()
    with pytest.raises(ValueError, match="tiny: .*") as raised:
        load_strictly(module, {"weight": torch.zeros(3, 5), "scale": torch.zeros(1)}, "tiny")
    assert "missing: bias; unexpected: scale; misshapen: weight (expected [3, 2], got [3, 5])" in str(
        raised.value
    )
    assert torch.equal(module.weight, before)
    check_state(module.state_dict(), module.state_dict())
