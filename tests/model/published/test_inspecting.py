"""A look at a place tells what is there, what is missing and what is wrong; it reads no tensor."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.published.official import make_official
from tests.model.small import small_model
from unimm.model.published.converting import convert
from unimm.model.published.inspecting import inspect
from unimm.model.published.places import HubPlace


@pytest.fixture
def made(tmp_path):
    return make_official(tmp_path, num_shards=3)


def test_a_whole_model_has_no_faults(made):
    report = inspect(made.folder)
    assert report.kind == "scale_rae"
    assert report.num_tensors == len(made.state)
    assert report.num_numbers == sum(x.numel() for x in made.state.values())
    assert report.dtypes == {"float32": report.num_numbers}
    assert (report.faults, report.contradictions) == ([], [])
    assert report.sizes["llm"]["width"] == 32
    assert report.absent == ["latent statistics (latents are drawn as the vision tower gives them)"]
    sizes = {row["name"]: row for row in report.files}
    assert sizes["config.json"]["bytes"] == (made.folder / "config.json").stat().st_size
    assert sum(row.get("tensors", 0) for row in report.files) == len(made.state)
    json.dumps(report.to_dict())


def test_what_is_needed_is_named_with_where_it_comes_from(made):
    needs = inspect(made.folder).needs
    assert needs[0].startswith("vision_tower: google/siglip2-so400m-patch14-224 (mm_vision_tower_aux_list")
    assert needs[1].startswith("decoder: nyu-visionx/siglip2_decoder")
    assert needs[2] == "tokenizer: here (vocab.json)"
    shutil.copytree(made.parts["decoder"], made.folder / "decoder")
    assert inspect(made.folder).needs[1] == "decoder: here (decoder/config.json)"


def test_differences_from_the_published_tables_are_listed(made):
    report = inspect(made.folder)
    assert report.nearest == "nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B"
    assert "dit.width: 2048 in the table, 32 here" in report.differs
    assert not any("connector_depth" in line for line in report.differs)


def test_what_is_absent_is_told(tmp_path):
    made = make_official(tmp_path, guidable=False, tied=True)
    absent = " ".join(inspect(made.folder).absent)
    assert "null condition" in absent
    assert "lm_head.weight" in absent
    assert "table" not in absent


def test_a_half_downloaded_model_tells_what_is_missing_and_what_is_there(made):
    (made.folder / "model-00003-of-00003.safetensors").unlink()
    report = inspect(made.folder)
    assert report.faults[0] == "missing files: model-00003-of-00003.safetensors"
    missing = next(row for row in report.files if row["bytes"] is None)
    assert missing["name"] == "model-00003-of-00003.safetensors"
    assert missing["tensors"] == len(list(made.state)[2::3])
    assert report.num_tensors == len(made.state) - missing["tensors"]
    assert len(report.faults) == 1, "what follows from a missing file is no fault of its own"


def test_shards_without_their_index_are_told_as_half_a_download(made):
    (made.folder / "model.safetensors.index.json").unlink()
    (fault,) = inspect(made.folder).faults
    assert "there is model-00001-of-00003.safetensors, model-00002" in fault
    assert "without the index; is the download complete?" in fault


def test_a_damaged_file_is_one_fault_whatever_it_should_hold(made):
    (made.folder / "model-00002-of-00003.safetensors").write_bytes(b"version https://git-lfs")
    (fault,) = inspect(made.folder).faults
    assert fault.startswith("damaged: ")
    assert "Git LFS" in fault


def test_a_file_cut_short_still_tells_its_sizes(made):
    path = made.folder / "model-00002-of-00003.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    report = inspect(made.folder)
    assert any(fault.startswith("cut short: model-00002-of-00003.safetensors") for fault in report.faults)
    assert report.num_tensors == len(made.state)
    assert report.sizes["dit"]["width"] == 32


def test_contradictions_and_strange_names_are_told_side_by_side(made):
    path = made.folder / "config.json"
    values = json.loads(path.read_text()) | {"vocab_size": 151667}
    del values["vision_loss"]
    path.write_text(json.dumps(values))
    shard = made.folder / "model-00001-of-00003.safetensors"
    save_file(load_file(shard) | {"model.vision_tower.x": torch.zeros(2)}, shard)
    report = inspect(made.folder)
    assert report.contradictions == ["vocab_size is 151667 in config.json and 180 in the tensors"]
    assert any("vision_loss" in fault for fault in report.faults)
    assert any("unexpected: model.vision_tower.x" in fault for fault in report.faults)


def test_no_tensor_is_read(made, monkeypatch):
    import unimm.files

    monkeypatch.setattr(unimm.files, "load_file", lambda path: pytest.fail("a tensor was read"))
    assert not inspect(made.folder).faults


def test_decoders_towers_and_our_folders_are_recognised(made, tmp_path):
    decoder = inspect(made.parts["decoder"])
    assert decoder.kind == "scale_rae_decoder"
    assert decoder.sizes["channels"] == made.codec.decoder["decoder_embed.weight"].shape[1]
    assert "width: 1152 in the table" in " ".join(decoder.differs)
    tower = inspect(made.parts["vision_tower"])
    assert tower.kind == "vision_tower"
    assert tower.sizes["hidden_size"] == made.codec.tower_config["hidden_size"]
    convert(made.folder, tmp_path / "ours", parts=made.parts)
    ours = inspect(tmp_path / "ours")
    assert (ours.kind, ours.faults, ours.came_from) == ("unimm", [], "scale_rae")


def test_our_own_folder_with_a_gap_says_so(tmp_path):
    small_model().save_pretrained(tmp_path / "ours")
    path = tmp_path / "ours" / "model.safetensors"
    save_file({n: x for n, x in load_file(path).items() if n != "queries.weight"}, path)
    assert any("1 missing: queries.weight" in fault for fault in inspect(tmp_path / "ours").faults)


def test_a_decoder_without_weights_says_so(made):
    (made.parts["decoder"] / "model.pt").unlink()
    assert inspect(made.parts["decoder"]).faults == [
        "model.pt is not there: the decoder's config without its weights"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json: expected JSON, could not read it"),
        ("[]", "config.json: expected a JSON object, got list"),
        ('{"model_type": "bert"}', "model_type 'bert' is none that is known here"),
    ],
)
def test_what_nobody_knows_is_told_as_unknown(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    report = inspect(tmp_path)
    assert report.kind == "unknown"
    (fault,) = report.faults
    assert words in fault


def test_an_empty_folder_is_told_as_such(tmp_path):
    assert inspect(tmp_path).faults == ["no config.json: nothing says what this is"]
    with pytest.raises(FileNotFoundError, match="expected a folder at /no/such/place"):
        inspect("/no/such/place")


class Remote:
    """A repository on a hub that is a folder; counts the bytes that are read of weights."""

    def __init__(self, folder: Path, monkeypatch):
        import huggingface_hub

        self.folder, self.read = folder, 0
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "HfFileSystem", lambda token: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **_: folder / name)

    def model_info(self, name, files_metadata, **options):
        files = [path for path in self.folder.iterdir() if path.is_file()]
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=p.name, size=p.stat().st_size) for p in files]
        )

    def open(self, name, mode, revision, block_size):
        remote, file = self, (self.folder / name.split("/")[-1]).open("rb")
        original = file.read

        class Counted:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def read(self, count):
                remote.read += count
                return original(count)

        return Counted()


def test_a_repository_is_told_like_its_folder_by_headers_alone(made, monkeypatch):
    remote = Remote(made.folder, monkeypatch)
    there, here = inspect("owner/name", {"revision": "v1"}), inspect(made.folder)
    assert there.place == "owner/name"
    alike = {"num_tensors", "num_numbers", "sizes", "absent", "differs", "needs", "faults", "contradictions"}
    assert {n: getattr(there, n) for n in alike} == {n: getattr(here, n) for n in alike}
    weights = sum(path.stat().st_size for path in made.folder.glob("*.safetensors"))
    assert remote.read == weights - sum(x.nbytes for x in made.state.values())


def test_a_remote_decoder_says_that_its_pickle_is_not_read_from_afar(made, monkeypatch):
    Remote(made.parts["decoder"], monkeypatch)
    report = inspect("owner/decoder")
    assert report.kind == "scale_rae_decoder"
    assert report.needs == ["model.pt, a pickle, which is read only where it is on this machine"]


def test_a_repository_that_cannot_be_had_is_told_in_one_line(monkeypatch):
    import huggingface_hub

    class Broken:
        def model_info(self, *_, **__):
            raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "HfApi", Broken)
    with pytest.raises(FileNotFoundError, match=r"owner/name: there is no such folder, .* \(no network\)"):
        HubPlace("owner/name").files()


def test_parts_that_are_given_are_looked_for_where_they_are(made, tmp_path):
    given = {"vision_tower": made.parts["vision_tower"], "decoder": "owner/decoder"}
    report = inspect(made.folder, parts=given)
    assert report.faults == []
    assert report.needs[0] == f"vision_tower: given ({given['vision_tower']}, config.json)"
    assert report.needs[1] == "decoder: given (owner/decoder, on the hub)"
    assert report.needs[2] == "tokenizer: here (vocab.json)"
    (tmp_path / "empty").mkdir()
    faults = inspect(made.folder, parts={"decoder": tmp_path / "empty", "tokenizer": "/nowhere/x"}).faults
    assert faults == [
        f"decoder: expected config.json in {tmp_path / 'empty'}, found none",
        "tokenizer: expected a folder or a hub id; there is no folder /nowhere/x",
    ]
    with pytest.raises(
        ValueError, match="decoder, vision_tower: expected only with a published Scale-RAE model"
    ):
        inspect(made.parts["vision_tower"], parts=given)
