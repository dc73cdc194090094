"""The vae stage: its divergence, its product as latents of generators and of models, and refusals."""

from __future__ import annotations

import json

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.training.road import ENCODER, MODEL, pictures, run_of
from unimm import UniMM
from unimm.config import build
from unimm.generator import ClassGenerator, GeneratorSettings
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.latents.vae_folder import load_vae
from unimm.model import UniMMConfig
from unimm.training.generating import prepare
from unimm.training.joint import fill_codec
from unimm.training.log import read_metrics
from unimm.training.loop import train
from unimm.training.vae import VAERecipe, VAESizes, VAEStage, divergence

SIZES = {
    "latent_channels": 4, "widths": [4, 8], "image_size": 24, "packing": 4, "layers_per_block": 1,
    "norm_groups": 2,
}  # fmt: skip
ADVERSARY = {"backbone": "tiny", "discriminator_from": 1, "adversarial_from": 2, "optim": {"lr": 1e-3}}


@pytest.fixture(autouse=True)
def small_tiny(monkeypatch):
    def built():
        torch.manual_seed(9)
        return build_encoder(EncoderConfig(**ENCODER))

    monkeypatch.setattr("unimm.training.vae.tiny_encoder", built)


def recipe_of(folder, name="vae", **changes):
    values = {
        "train": {**run_of(folder, name), "num_steps": 3, "ema_decay": 0.5},
        "pictures": pictures(folder),
        "vae": SIZES,
        "losses": {"perceptual": {"backbone": "tiny", "gram": 1.0}, "adversary": ADVERSARY},
        "measured_pictures": 40,
        "kl_weight": 0.5,
        **changes,
    }
    return build(VAERecipe, values)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of three steps, and its product's folder."""
    folder = tmp_path_factory.mktemp("vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unimm.training.vae.tiny_encoder", lambda: build_encoder(EncoderConfig(**ENCODER)))
        recipe = recipe_of(folder)
        torch.manual_seed(0)
        stage = VAEStage(recipe)
        result = train(recipe.train, stage, recipe)
        stage.export(result.checkpoint, folder / "model")
    return folder, stage, folder / "model"


def test_the_divergence_is_torch_s():
    mean, std = torch.randn(2, 5, 3), torch.rand(2, 5, 3) + 0.1
    expected = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum((1, 2))
    torch.testing.assert_close(divergence(mean, std), expected)


def test_the_loss_is_the_weighted_sum_of_its_terms(made):
    for row in read_metrics(made[0] / "vae"):
        expected = row["pixels"] + 0.05 * row["perceptual@tiny"] + row["gram@tiny"]
        expected += 0.5 * row["kl"] / (3 * 24 * 24)  # of sums over a picture, as the rest are means
        if "disc@tiny_heard" in row:
            expected += 0.75 * row["disc@tiny_scale"] * row["disc@tiny_heard"]
        assert row["loss"] == pytest.approx(expected, rel=1e-4)
    assert "disc@tiny_heard" in row


def test_both_halves_learn(made):
    recipe = recipe_of(made[0], "other")
    torch.manual_seed(0)
    fresh = VAEStage(recipe).modules["vae"].state_dict()
    after = made[1].modules["vae"].state_dict()
    changed = {name.split(".")[1] for name in fresh if not torch.equal(fresh[name], after[name])}
    assert changed == {"encoder", "decoder"}


def test_the_product_s_latents_have_mean_0_and_variance_1(made):
    vae = load_vae(made[2], packing=4, image_size=24)
    with torch.no_grad():
        latents = vae.sample(made[1].stream.first(40), torch.Generator().manual_seed(0))
    assert latents.shape == (40, 9, 64)
    assert latents.mean().item() == pytest.approx(0, abs=0.02)
    assert latents.std().item() == pytest.approx(1, abs=0.02)


def test_the_product_is_diffusers_own_folder(made):
    from diffusers import AutoencoderKL

    theirs, ours = AutoencoderKL.from_pretrained(made[2]).eval(), load_vae(made[2], image_size=24).eval()
    pixels = made[1].stream.first(2)
    with torch.no_grad():
        mean = theirs.encode(pixels * 2 - 1).latent_dist.mean
        config = theirs.config
        expected = (mean - config.shift_factor) * config.scaling_factor
        torch.testing.assert_close(ours.unpack(ours.encode(pixels)), expected)


def drawn_kind(folder):
    found = load_vae(folder, packing=4, image_size=24).config
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return {"kind": "vae", **values}


def test_a_generator_by_class_draws_in_its_latents(made):
    body = {
        "kind": "lightning", "channels": 64, "width": 64, "depth": 1, "heads": 2, "grid": 3, "num_classes": 2,
        "condition_width": 8,
    }  # fmt: skip
    settings = build(GeneratorSettings, {"body": body, "latents": drawn_kind(made[2])})
    model = ClassGenerator(settings)
    prepare(model, None, str(made[2]), False)
    assert torch.equal(
        model.space.tower.decoder.conv_out.weight, load_vae(made[2]).tower.decoder.conv_out.weight
    )
    assert model.generate([0], num_inference_steps=1, seed=0).images[0].size == (24, 24)
    other = build(
        GeneratorSettings, {"body": body, "latents": {**drawn_kind(made[2]), "scaling_factor": 0.5}}
    )
    with pytest.raises(ValueError, match=r"vae.scaling_factor: the folder .* has .* settings say 0\.5"):
        prepare(ClassGenerator(other), None, str(made[2]), False)


def test_a_model_draws_in_its_latents(made, monkeypatch):
    settings = {**MODEL, "decoder": None, "drawn": drawn_kind(made[2])}
    settings["dit"] = {**MODEL["dit"], "channels": 64, "width": 64}
    torch.manual_seed(0)
    model = UniMM(UniMMConfig(settings))
    monkeypatch.setattr("unimm.training.joint.trained", lambda run, name: model.encoder.state_dict())
    fill_codec(model, "run", str(made[2]))
    pixels, vae = made[1].stream.first(2), load_vae(made[2], packing=4, image_size=24)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_target(pixels), vae.encode(pixels))


def test_a_vae_goes_on_from_another(made):
    recipe = recipe_of(made[0], "again", start=str(made[2]))
    begun, folder = VAEStage(recipe).modules["vae"], load_vae(made[2])
    assert torch.equal(begun.tower.decoder.conv_out.weight, folder.tower.decoder.conv_out.weight)
    assert begun.config.scaling_factor == 1
    with pytest.raises(ValueError, match="start: expected a VAE of"):
        VAEStage(recipe_of(made[0], "again", start=str(made[2]), vae={**SIZES, "latent_channels": 8}))


def test_the_folder_says_what_was_measured(made):
    facts = json.loads((made[2] / "config.json").read_text())
    assert facts["latent_channels"] == 4
    assert facts["scaling_factor"] != 1
    assert facts["_class_name"] == "AutoencoderKL"


@pytest.mark.parametrize("channels", [4, 8, 16])
def test_channels_may_be_4_8_and_16(channels):
    assert VAESizes(channels, (32, 64), 24).config().latent_channels == channels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vae": {**SIZES, "latent_channels": 12}}, "latent_channels: expected one of 4, 8, 16, got 12"),
        ({"vae": {**SIZES, "image_size": 32}}, "vae.image_size: expected the pictures' 24, got 32"),
        ({"measured_pictures": 41}, "expected 1 to the pictures' 40, got 41"),
        ({"kl_weight": -1.0}, "kl_weight: expected 0 or more"),
        ({"pictures": None}, "either the world's pictures or data.sources, got neither"),
        ({"losses": {}}, "expected 'tiny' or lpips, as this stage has no encoder, got 'encoder'"),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(tmp_path, **changes)
