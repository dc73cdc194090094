"""The variant that draws a VAE's latents and sees the vision tower's: both are found, joined, given back."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.model.published.official import make_official, random_codec
from unimm.model import UniMM
from unimm.model.published.converting import convert

DRAW = {"num_inference_steps": 2, "seed": 1, "output_type": "latent"}
SEEN, DRAWN, TOKENS = 24, 16, 16


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A folder that diffusers saved: 4 latent channels, so 16 numbers per packed token; two levels."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def made(tmp_path):
    values = {"generation_alignment_tower": "flux-vae"}
    return make_official(tmp_path / "from", random_codec(TOKENS, SEEN), values=values, channels=DRAWN)


def load(made, vae):
    return UniMM.from_pretrained(made.folder, vision_tower=made.parts["vision_tower"], decoder=vae)


def test_it_draws_in_one_space_and_sees_in_another(made, vae):
    model = load(made, vae)
    settings = model.config.settings
    assert (settings.dit.channels, settings.encoder.width) == (DRAWN, SEEN)
    assert settings.drawn["packing"] == 2
    assert not settings.sees_drawn
    weights = load_file(vae / "diffusion_pytorch_model.safetensors")
    assert torch.equal(model.drawn.tower.decoder.conv_out.weight, weights["decoder.conv_out.weight"])
    drawn = model.generate_image("a", **DRAW).latents
    assert drawn.shape == (1, TOKENS, DRAWN)
    with torch.no_grad():
        seen = model.to_seen(drawn)
    assert seen.shape == (1, TOKENS, SEEN)
    assert model.generate_image("a", num_inference_steps=2, best_of=2, seed=0).images[0].size == (16, 16)


def test_the_shift_of_time_is_that_of_what_is_drawn(made, vae):
    assert load(made, vae).config.settings.alpha == pytest.approx((TOKENS * DRAWN / 4096) ** 0.5)


def test_there_and_back_it_is_equal_to_the_bit(made, vae, tmp_path):
    parts = {"vision_tower": made.parts["vision_tower"], "decoder": vae}
    convert(made.folder, tmp_path / "ours", parts=parts)
    convert(tmp_path / "ours", tmp_path / "theirs")
    found = load_file(tmp_path / "theirs" / "model.safetensors")
    assert found.keys() == made.state.keys()
    assert all(torch.equal(found[name], x) for name, x in made.state.items())
    name = "diffusion_pytorch_model.safetensors"
    there, here = load_file(tmp_path / "theirs" / "decoder" / name), load_file(vae / name)
    assert there.keys() == here.keys()
    assert all(torch.equal(there[key], x) for key, x in here.items())
    configs = [
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "theirs" / "decoder", vae)
    ]
    assert configs[0] == configs[1]
    models = [
        load(made, vae),
        UniMM.from_pretrained(tmp_path / "ours"),
        UniMM.from_pretrained(tmp_path / "theirs"),
    ]
    drawn = [model.generate_image("a", **DRAW).latents for model in models]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_a_vae_of_other_latents_is_refused(tmp_path, vae):
    values = {"generation_alignment_tower": "flux-vae"}
    made = make_official(tmp_path, random_codec(TOKENS, SEEN), values=values, channels=64)
    with pytest.raises(
        ValueError, match="expected a VAE of 64 numbers per token, .* got one of 4 channels and so 16"
    ):
        load(made, vae)


def test_a_pixel_decoder_is_no_vae(made):
    with pytest.raises(FileNotFoundError, match="decoder: expected diffusion_pytorch_model.safetensors"):
        UniMM.from_pretrained(made.folder, **made.parts)


def test_a_vae_that_nobody_gives_is_asked_for(made):
    with pytest.raises(
        FileNotFoundError, match="generation_alignment_tower in config.json is 'flux-vae'.*give decoder="
    ):
        UniMM.from_pretrained(made.folder, vision_tower=made.parts["vision_tower"])
