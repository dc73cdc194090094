"""An adapter by its folder, in the commands that open a model."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.model.small import small_model
from tests.model.test_adapters import stirred
from unimm.app.cli import main
from unimm.model import UniMM
from unimm.model.adapter_files import save_adapter
from unimm.model.adapters import AdapterSettings, add_adapter


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, and an adapter of it that changes both what is drawn and what is said."""
    folder = tmp_path_factory.mktemp("adapter")
    small_model().save_pretrained(folder / "base")
    model = UniMM.from_pretrained(folder / "base")
    add_adapter(model, AdapterSettings(("llm", "dit"), rank=2))
    save_adapter(stirred(model), folder / "adapter")
    return folder


def ran(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


def test_a_drawing_is_the_adapted_models(folders, tmp_path):
    common = ("generate", "two red circles", "--steps", 2, "--save-latents", "--model", folders / "base")
    assert ran(*common, "--out", tmp_path / "plain.png") == 0
    assert ran(*common, "--adapter", folders / "adapter", "--out", tmp_path / "adapted.png") == 0
    plain, adapted = (load_file(tmp_path / f"{name}.safetensors") for name in ("plain", "adapted"))
    model = UniMM.from_pretrained(folders / "base", adapter=folders / "adapter")
    expected = model.generate_image("two red circles", num_inference_steps=2, seed=0).latents[0]
    assert torch.equal(next(iter(adapted.values())), expected)
    assert not torch.equal(next(iter(plain.values())), expected)


def test_words_are_the_adapted_models(folders, tmp_path, capsys):
    Image.new("RGB", (12, 12), "red").save(tmp_path / "red.png")
    model = UniMM.from_pretrained(folders / "base", adapter=folders / "adapter")
    options = ("--model", folders / "base", "--adapter", folders / "adapter")
    assert ran("answer", tmp_path / "red.png", "yes?", *options) == 0
    picture = Image.open(tmp_path / "red.png")
    assert capsys.readouterr().out.strip() == model.answer(picture, "yes?").strip()


def test_an_adapter_of_another_model_ends_the_command(folders, tmp_path, capsys):
    small_model(seed=1).save_pretrained(tmp_path / "other")
    code = ran("generate", "a", "--model", tmp_path / "other", "--adapter", folders / "adapter")
    assert code not in (0, None)
    assert "expected its base" in capsys.readouterr().err


def test_a_benchmark_keeps_the_adapters_name(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--model", folders / "base", "--adapter", folders / "adapter", "--steps", 1, "--limit", 6)
    assert ran("eval", "generate", "--bench", "world", *options) == 0
    run = tmp_path / "outputs" / "world-base-adapter" / "run.json"
    assert f"with {folders / 'adapter'}" in run.read_text()
