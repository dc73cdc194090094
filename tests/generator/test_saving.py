"""A generator in a folder: it comes back whole, or is refused with the list of what does not fit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.generator.small import BODIES, class_generator, text_generator
from unimm.generator import ClassGenerator, TextGenerator

STEPS = {"num_inference_steps": 2, "output_type": "pt", "seed": 3}


@pytest.fixture
def folder(tmp_path):
    class_generator().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", BODIES)
def test_a_generator_by_class_comes_back(kind, tmp_path):
    model = class_generator(kind)
    model.save_pretrained(tmp_path / "model")
    found = ClassGenerator.from_pretrained(tmp_path / "model")
    assert found.settings == model.settings
    assert torch.equal(found.generate("star", **STEPS).images, model.generate("star", **STEPS).images)
    pixels = torch.rand(1, 3, 12, 12)
    assert torch.equal(found.encode_image(pixels), model.encode_image(pixels))


def test_a_generator_by_text_comes_back_with_its_tokenizers(tmp_path):
    model = text_generator()
    model.save_pretrained(tmp_path / "model")
    found = TextGenerator.from_pretrained(tmp_path / "model")
    options = {**STEPS, "guidance_scale": 2.0}
    assert torch.equal(
        found.generate("a red circle", **options).images, model.generate("a red circle", **options).images
    )


def test_the_dtype_is_chosen_at_loading(folder):
    found = ClassGenerator.from_pretrained(folder, dtype=torch.bfloat16)
    assert found.dit.embed.weight.dtype == torch.bfloat16
    assert found.generate(0, **STEPS).latents.dtype == torch.float32


def test_a_gap_and_a_surplus_are_listed(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    state["surplus"] = state.pop("space.statistics.mean")
    save_file(state, path)
    with pytest.raises(ValueError, match="missing: space.statistics.mean; unexpected: surplus"):
        ClassGenerator.from_pretrained(folder)


def test_another_kind_of_model_is_refused(folder):
    with pytest.raises(ValueError, match="expected model_type 'unimm_text_generator', got 'unimm_class_gen"):
        TextGenerator.from_pretrained(folder)


def test_settings_that_do_not_build_name_the_file(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["body"]["kind"] = "dtd"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config.json: .*did you mean 'ddt'"):
        ClassGenerator.from_pretrained(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        ClassGenerator.from_pretrained(tmp_path / "none")


def test_saving_again_replaces_the_weights_and_keeps_other_files(folder):
    (folder / "README.md").write_text("mine")
    model = class_generator("lightning", seed=8)
    model.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine"
    found = ClassGenerator.from_pretrained(folder)
    assert torch.equal(found.dit.embed.weight, model.dit.embed.weight)


def test_a_save_that_fails_changes_nothing(folder, monkeypatch):
    before = (folder / "model.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("unimm.weights.folder.save_file", full)
    with pytest.raises(ValueError, match="No space left on device"):
        class_generator(seed=9).save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]
