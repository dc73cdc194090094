"""Stable Diffusion 3's folders and single file become generators that say what was recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.generator.published.disk import STEPS, write_json, write_vae
from tests.text.small_sd3 import small_config, small_text
from unimm.dit.mmdit import TextConditions
from unimm.generator import TextGenerator
from unimm.generator.published import load_published, save_published
from unimm.latents.vae import SD3VAEConfig
from unimm.text.published import FOLDERS, save_words
from unimm.text.sd3 import TOWERS
from unimm.weights.sd3_files import read_sd3_folder, write_sd3_file

FILES = pytest.mark.parity("sd3/sd3_transformer_*")
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.29.0", "shift": 3.0,
    "num_train_timesteps": 1000,
}  # fmt: skip


def small_towers(config):
    """Return text encoders whose sequence and pooled vector are as wide as the transformer's."""
    places, pooled = small_config(), config["pooled_projection_dim"]
    share = pooled // 2
    clips = {
        "clip_l": replace(places.clip_l, pooled_width=share),
        "clip_g": replace(places.clip_g, pooled_width=pooled - share),
    }
    return small_text(width=config["joint_attention_dim"], **clips)


def write_pipeline(recorded, folder):
    """Write a pipeline around the recorded transformer; return its text encoders."""
    from transformers import T5EncoderModel

    config = recorded.value["config"]
    write_json({"_class_name": "SD3Transformer2DModel", **config}, folder / "transformer" / "config.json")
    save_file(recorded.under("w."), folder / "transformer" / WEIGHTS)
    write_vae(folder / "vae", SD3VAEConfig, config["in_channels"])
    write_json(SCHEDULER, folder / "scheduler" / "scheduler_config.json")
    text = small_towers(config)
    for name in TOWERS:
        if name == "t5":
            model = T5EncoderModel(text.towers[name].encoder.config)
            model.encoder.load_state_dict(text.towers[name].encoder.state_dict())
        else:
            model = text.towers[name].model
        model.save_pretrained(folder / FOLDERS[name][0])
    save_words(text.words, folder)
    return text


def recorded_velocity(model, recorded):
    get = recorded.tensors.__getitem__
    told = TextConditions(get("in.encoder_hidden_states"), get("in.pooled_projections"))
    maps = get("in.hidden_states")
    with torch.no_grad():
        return model.velocity(maps.flatten(2).mT, get("in.timestep") / 1000, told, size=maps.shape[2:])


def check_velocity(model, recorded):
    wanted = recorded.tensors["out.sample"].flatten(2).mT
    tolerance = 2e-5 * wanted.abs().max().item()
    torch.testing.assert_close(recorded_velocity(model, recorded), wanted, atol=tolerance, rtol=0)


@FILES
def test_a_pipelines_folder_says_what_was_recorded_and_draws(recorded, tmp_path):
    text = write_pipeline(recorded, tmp_path)
    model = load_published("sd3", folder=tmp_path, t5_tokens=7)
    assert isinstance(model, TextGenerator)
    assert not model.training
    check_velocity(model, recorded)
    prompts = ["a red circle", "two blue stars"]
    for found, expected in zip(model.text.encode(prompts), text.encode(prompts), strict=True):
        assert torch.equal(found, expected)
    drawn = model.generate(prompts, **STEPS).images
    side = 2 * recorded.value["config"]["sample_size"]
    assert drawn.shape == (2, 3, side, side)
    assert not torch.equal(drawn[0], drawn[1])
    sampling = model.settings.sampling
    assert (sampling.grid, sampling.num_inference_steps, sampling.guidance_scale) == ("diffusers", 28, 7.0)
    assert (sampling.negative_prompt, model.settings.alpha) == ("", 3.0)


@pytest.mark.parity("sd3/sd3_transformer_dual_qknorm")
def test_a_loaded_generator_is_saved_in_our_own_format_and_draws_without_t5(recorded, tmp_path):
    write_pipeline(recorded, tmp_path)
    model = load_published("sd3", folder=tmp_path, t5_tokens=7)
    drawn = model.generate("a star", **STEPS).images
    model.save_pretrained(tmp_path / "ours")
    again = TextGenerator.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.generate("a star", **STEPS).images, drawn)
    places = model.text.config
    lighter = load_published("sd3", folder=tmp_path, towers=["clip_l", "clip_g"], places=places, t5_tokens=7)
    without = model.generate("a star", without=["t5"], **STEPS).images
    torch.testing.assert_close(lighter.generate("a star", **STEPS).images, without)


@FILES
def test_the_original_single_file_is_the_same_transformer(recorded, tmp_path):
    write_pipeline(recorded, tmp_path)
    sizes, parameters = read_sd3_folder(tmp_path / "transformer")
    path = tmp_path / "single.safetensors"
    write_sd3_file(parameters, sizes, path)
    others = {"first_stage_model.decoder.conv_in.bias": torch.ones(1)}
    save_file({**load_file(path), **others}, path)
    model = load_published(
        "sd3_file", body=path, vae=tmp_path / "vae", text=tmp_path, grid=sizes["grid"], heads=sizes["heads"],
        t5_tokens=7,
    )  # fmt: skip
    check_velocity(model, recorded)
    assert model.settings.alpha == 3.0
    options = {**STEPS, "num_inference_steps": 1}
    whole = load_published("sd3", folder=tmp_path, t5_tokens=7)
    torch.testing.assert_close(
        model.generate("a star", **options).images, whole.generate("a star", **options).images
    )


@FILES
def test_what_is_written_is_what_was_read(recorded, tmp_path):
    write_pipeline(recorded, tmp_path)
    model = load_published("sd3", folder=tmp_path, t5_tokens=7)
    save_published("sd3", model, tmp_path / "out")
    before, after = (load_file(tmp_path / part / WEIGHTS) for part in ("transformer", "out/transformer"))
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    config = json.loads((tmp_path / "out" / "transformer" / "config.json").read_text())
    assert {name: config[name] for name in recorded.value["config"]} == recorded.value["config"]


@pytest.fixture
def folder(recorded, tmp_path):
    write_pipeline(recorded, tmp_path)
    return tmp_path


@pytest.mark.parity("sd3/sd3_transformer_plain")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting .True, read here is False"),
        ({"_class_name": "DDIMScheduler"}, "_class_name .'DDIMScheduler'"),
        ({"novelty": 1}, "unknown: novelty"),
    ],
)
def test_another_scheduler_is_refused(folder, changes, said):
    write_json({**SCHEDULER, **changes}, folder / "scheduler" / "scheduler_config.json")
    with pytest.raises(ValueError, match=rf"^{folder}/scheduler/scheduler_config\.json: .*{said}"):
        load_published("sd3", folder=folder)


@pytest.mark.parity("sd3/sd3_transformer_plain")
def test_the_schedulers_shift_is_read(folder):
    write_json({**SCHEDULER, "shift": 5.0}, folder / "scheduler" / "scheduler_config.json")
    assert load_published("sd3", folder=folder, t5_tokens=7).settings.alpha == 5.0


@pytest.mark.parity("sd3/sd3_transformer_plain")
@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder_2", "scheduler"])
def test_a_part_that_is_not_there_is_named(folder, part):
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=part):
        load_published("sd3", folder=folder, towers=TOWERS)


@pytest.mark.parity("sd3/sd3_transformer_plain")
def test_what_does_not_fit_is_listed_with_its_file(folder):
    path = folder / "transformer" / WEIGHTS
    state = load_file(path)
    gone = state.pop("proj_out.bias")
    save_file({**state, "stranger": gone}, path)
    with pytest.raises(
        ValueError, match=rf"^{folder}/transformer: .*missing: proj_out\.bias; unexpected: stranger"
    ):
        load_published("sd3", folder=folder)
    save_file({f"net.{name}": x for name, x in state.items()}, path)
    with pytest.raises(ValueError, match=rf"^{folder}/transformer: .*missing: .*unexpected: net\."):
        load_published("sd3", folder=folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: not readable"):
        load_published("sd3", folder=folder)
