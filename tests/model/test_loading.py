"""A model that was saved comes back whole, and what is not whole never comes back."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.model.small import small_model, small_settings
from unimm.model import UniMM, UniMMConfig
from unimm.model.loading import find_folder, refuse_options

DRAW = {"num_inference_steps": 2, "seed": 1, "output_type": "latent"}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_everything_comes_back(tmp_path, tied, shard, caplog):
    import dataclasses

    model = small_model(llm=dataclasses.replace(small_settings().llm, tied_embeddings=tied))
    model.save_pretrained(tmp_path / "m", max_shard_size=shard)
    assert (tmp_path / "m" / "model.safetensors.index.json").exists() == (shard == "20KB")
    loaded = UniMM.from_pretrained(tmp_path / "m")
    assert not caplog.records
    assert not loaded.training
    assert loaded.config.settings == model.config.settings
    for kind in ("named_parameters", "named_buffers"):
        for (name, mine), (other, theirs) in zip(
            getattr(model, kind)(), getattr(loaded, kind)(), strict=True
        ):
            assert name == other
            assert torch.equal(mine, theirs), name
    assert (loaded.llm.lm_head.weight is loaded.llm.model.embed_tokens.weight) == tied
    assert torch.equal(loaded.generate_image("a", **DRAW).latents, model.generate_image("a", **DRAW).latents)


def test_the_same_classes_load_through_the_public_name(saved):
    import unimm

    assert isinstance(unimm.UniMM.from_pretrained(str(saved)), UniMM)


def test_weights_may_be_stored_small_and_statistics_stay_exact(model, tmp_path):
    model.save_pretrained(tmp_path / "m", dtype=torch.bfloat16)
    with safe_open(tmp_path / "m" / "model.safetensors", "pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds["dit.embed.weight"] == torch.bfloat16
    assert kinds["statistics.mean"] == torch.float32
    assert "llm.lm_head.weight" not in kinds, "tied weights are stored once"
    loaded = UniMM.from_pretrained(tmp_path / "m")
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.statistics.mean, model.statistics.mean)
    assert torch.equal(loaded.dit.embed.weight, model.dit.embed.weight.bfloat16().float())


def test_the_old_name_of_the_dtype_is_heard(saved):
    assert UniMM.from_pretrained(saved, torch_dtype=torch.bfloat16).dtype == torch.bfloat16


def test_loading_tells_of_no_gaps_as_it_leaves_none(saved):
    with pytest.raises(ValueError, match="output_loading_info: expected false"):
        UniMM.from_pretrained(saved, output_loading_info=True)


def test_a_bfloat16_model_keeps_its_tables_and_statistics_in_float32(saved, model):
    loaded = UniMM.from_pretrained(saved, dtype=torch.bfloat16)
    assert loaded.dit.embed.weight.dtype == torch.bfloat16
    for table in ("frequencies", "rope_cos", "positions"):
        assert torch.equal(getattr(loaded.dit, table), getattr(model.dit, table)), table
    assert torch.equal(loaded.statistics.std, model.statistics.std)
    assert torch.isfinite(loaded.generate_image("a", **DRAW).latents).all()


def test_one_error_lists_all_that_does_not_fit(saved):
    state = load_file(saved / "model.safetensors")
    del state["queries.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["dit.embed.weight"] = torch.zeros(2, 3)
    save_file(state, saved / "model.safetensors")
    with pytest.raises(
        ValueError, match="1 missing: queries.weight; 1 unexpected: extra.weight; 1 misshapen: "
    ) as e:
        UniMM.from_pretrained(saved)
    assert r"dit.embed.weight (expected [16, 8], got [2, 3])" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_missing_embedding_is_not_excused_by_its_tied_twin(saved):
    state = load_file(saved / "model.safetensors")
    del state["llm.model.embed_tokens.weight"]
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ValueError, match="1 missing: llm.model.embed_tokens.weight"):
        UniMM.from_pretrained(saved)


def test_a_file_that_was_cut_short_is_named(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut short: model\.safetensors \(\d+ of \d+ bytes\)"):
        UniMM.from_pretrained(saved)


def test_a_missing_shard_is_named(model, tmp_path):
    model.save_pretrained(tmp_path / "m", max_shard_size="20KB")
    next((tmp_path / "m").glob("model-00002*")).unlink()
    with pytest.raises(FileNotFoundError, match="model-00002"):
        UniMM.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected JSON"),
        ('{"model_type": "qwen2"}', "expected model_type 'unimm', or 'cambrian_qwen' .*, got 'qwen2'"),
        ('{"model_type": "unimm"}', "expected the model's settings"),
        ('{"model_type": "unimm", "settings": {"num_querys": 1}}', "did you mean 'num_queries'"),
    ],
)
def test_a_configuration_that_is_none_is_refused(saved, text, words):
    (saved / "config.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        UniMM.from_pretrained(saved)


def test_a_tokenizer_larger_than_the_embedding_is_refused(model, tmp_path):
    from unimm.text.tokenizer import train_tokenizer

    model.save_pretrained(tmp_path / "m")
    train_tokenizer([" ".join(dir(str))] * 9, 320).save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="tokenizer: expected at most 300 tokens"):
        UniMM.from_pretrained(tmp_path / "m")


def test_names_are_resolved_or_suggested(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_folder(tmp_path) == tmp_path
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        UniMM.from_pretrained("tinny")
    with pytest.raises(FileNotFoundError, match="expected a folder at /no/such/model"):
        UniMM.from_pretrained("/no/such/model")
    with pytest.raises(FileNotFoundError, match="expected config.json"):
        UniMM.from_pretrained(tmp_path)


def test_a_hub_id_that_cannot_be_had_is_told_in_one_line(monkeypatch):
    import huggingface_hub

    def refuse(*args, **options):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"there is no folder owner/name, .* \(no network\)"):
        UniMM.from_pretrained("owner/name")


def test_a_hub_id_is_downloaded_with_the_callers_options(saved, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **options: asked.append((name, options)) or str(saved),
    )
    UniMM.from_pretrained("owner/name", revision="v1")
    assert asked[0][0] == "owner/name"
    assert asked[0][1]["revision"] == "v1"


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_everything_as_it_was(model, tmp_path, monkeypatch, existing):
    target = tmp_path / "m"
    if existing:
        model.save_pretrained(target)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(self, folder):
        Path(folder, "tokenizer.json").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(target)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert sorted(os.listdir(tmp_path)) == (["m"] if existing else [])


def test_saving_again_keeps_other_files_and_no_old_weights(model, tmp_path):
    target = tmp_path / "m"
    model.save_pretrained(target, max_shard_size="20KB")
    (target / "README.md").write_text("card")
    (target / "notes").mkdir()
    (target / "notes" / "a.txt").write_text("a")
    model.save_pretrained(target)
    assert (target / "README.md").read_text() == "card"
    assert (target / "notes" / "a.txt").exists()
    assert [path.name for path in target.glob("model*")] == ["model.safetensors"]
    assert os.listdir(tmp_path) == ["m"]
    UniMM.from_pretrained(target)


def test_a_file_in_the_way_is_named(model, tmp_path):
    (tmp_path / "m").write_text("x")
    with pytest.raises(FileExistsError, match="expected a folder to save to"):
        model.save_pretrained(tmp_path / "m")


def test_an_untrained_model_on_the_meta_device_costs_nothing():
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        model = UniMM(UniMMConfig(small_settings()))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    json.dumps(model.config.to_dict())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"some_unknown_option": 1}, "some_unknown_option: expected options among dtype, profile, adapter, "),
        ({"device_mapp": "cpu"}, "device_mapp: .* did you mean 'device_map'"),
        (
            {"load_in_8bit": True},
            r"load_in_8bit: give quantization_config=BitsAndBytesConfig\(load_in_8bit=True\)",
        ),
        ({"load_in_4bit": False, "no": 1}, r"load_in_4bit: give quantization_config"),
    ],
)
def test_options_that_nobody_knows_are_refused_before_anything_is_looked_for(options, words):
    with pytest.raises(ValueError, match=words):
        UniMM.from_pretrained("/nowhere/at/all", **options)


def test_options_of_transformers_are_known(saved):
    """Those that its `from_pretrained` takes by name, so that its next version tells."""
    named = inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters.values()
    for each in named:
        if each.kind is each.KEYWORD_ONLY:
            refuse_options({each.name: None})
    loaded = UniMM.from_pretrained(saved, device_map="cpu", use_safetensors=True, trust_remote_code=False)
    assert loaded.device.type == "cpu"
