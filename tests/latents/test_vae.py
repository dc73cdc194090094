"""VAEs from diffusers: published sizes, tokens and their order, folders, and life without diffusers."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
import torch

from unimm.latents.vae import VAE, FluxVAEConfig, SD3VAEConfig, SDVAEConfig, VAEConfig
from unimm.latents.vae_folder import WEIGHTS, load_vae, vae_sizes

SMALL = VAEConfig(
    latent_channels=3,
    scaling_factor=0.5,
    shift_factor=0.25,
    packing=2,
    image_size=16,
    widths=(4, 8),
    layers_per_block=1,
    norm_groups=2,
)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return VAE(SMALL).eval()


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("config", "tokens", "channels", "parameters"),
    [
        # The published files weigh 335 MB in float32 (Stable Diffusion) and 168 MB in bfloat16 (FLUX).
        (SDVAEConfig(), 1024, 4, 83_653_863),
        (FluxVAEConfig(), 256, 64, 83_819_683),
        (SD3VAEConfig(), 1024, 16, 83_819_683),
    ],
)
def test_the_published_vaes_have_their_sizes(config, tokens, channels, parameters):
    assert (config.grid**2, config.channels) == (tokens, channels)
    with torch.device("meta"):
        vae = VAE(config)
    assert sum(p.numel() for p in vae.parameters()) == parameters


def test_packing_puts_four_neighbours_into_a_token_and_back(vae):
    maps = torch.arange(3 * 4 * 6.0).reshape(1, 3, 4, 6)
    tokens = vae.pack(maps)
    assert tokens.shape == (1, 6, 12)
    # Token 4 is row 1, column 1: latent rows 2 and 3, columns 2 and 3, channel by channel.
    assert torch.equal(tokens[0, 4], maps[0, :, 2:4, 2:4].flatten())
    assert torch.equal(vae.unpack(tokens, (2, 3)), maps)


@torch.no_grad()
def test_a_sample_is_the_mean_plus_noise_of_its_generator(vae, pixels):
    mean, std = vae.moments(pixels)
    assert torch.equal(vae.encode(pixels), mean)
    sample = vae.sample(pixels, torch.Generator().manual_seed(3))
    noise = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(sample, mean + std * vae.pack(noise))
    theirs = vae.tower.encode(pixels * 2 - 1).latent_dist.sample(torch.Generator().manual_seed(3))
    torch.testing.assert_close(vae.unpack(sample, (2, 3)), (theirs - 0.25) * 0.5)


@torch.no_grad()
def test_a_picture_that_is_not_square_goes_round_with_its_size(vae, pixels):
    latents = vae.encode(pixels)
    shown = vae(latents, (2, 3))
    theirs = vae.tower.decode(vae.tower.encode(pixels * 2 - 1).latent_dist.mode()).sample
    torch.testing.assert_close(shown, theirs / 2 + 0.5)
    with pytest.raises(ValueError, match="expected a square number of tokens, got 6"):
        vae.decode(latents)
    with pytest.raises(ValueError, match="expected 3 x 3 = 9 tokens, got 6"):
        vae.decode(latents, (3, 3))
    with pytest.raises(ValueError, match="NaN or infinity in picture 1"):
        vae.decode(latents * torch.tensor([1, float("nan")])[:, None, None], (2, 3))


def test_pictures_that_do_not_divide_are_refused(vae):
    with pytest.raises(ValueError, match="multiples of 4, got 8 x 10; resize or crop first"):
        vae.encode(torch.zeros(1, 3, 8, 10))
    with pytest.raises(ValueError, match="vae.image_size: expected a multiple of 4 pixels, got 18"):
        dataclasses.replace(SMALL, image_size=18)
    with pytest.raises(ValueError, match=r"vae.widths: expected multiples of norm_groups = 2, got \(4, 7\)"):
        dataclasses.replace(SMALL, widths=(4, 7))


def saved(vae, folder):
    vae.tower.save_pretrained(folder)
    return folder


@torch.no_grad()
def test_a_folder_of_diffusers_gives_the_same_pictures(vae, pixels, tmp_path):
    loaded = load_vae(saved(vae, tmp_path), packing=2, image_size=16).eval()
    assert loaded.config == vae.config
    assert torch.equal(loaded(loaded.encode(pixels), (2, 3)), vae(vae.encode(pixels), (2, 3)))


def test_weights_above_the_size_cap_are_refused(vae, tmp_path):
    size = (saved(vae, tmp_path) / WEIGHTS).stat().st_size
    with pytest.raises(ValueError, match=f"expected at most {size - 1} bytes, the file has {size}"):
        load_vae(tmp_path, packing=2, image_size=16, max_bytes=size - 1)


def rewrite(folder, change):
    from safetensors.torch import load_file, save_file

    save_file(
        {new: x for key, x in load_file(folder / WEIGHTS).items() if (new := change(key))}, folder / WEIGHTS
    )


@torch.no_grad()
def test_attention_under_its_old_names_is_understood(vae, pixels, tmp_path):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def change(key):
        for name, before in old.items():
            key = key.replace(f"attentions.0.{name}.", f"attentions.0.{before}.")
        return key

    rewrite(saved(vae, tmp_path), change)
    loaded = load_vae(tmp_path, packing=2).eval()
    assert torch.equal(loaded.encode(pixels), vae.encode(pixels))


def test_a_folder_with_gaps_is_refused_with_the_list(vae, tmp_path):
    rewrite(saved(vae, tmp_path), lambda key: {"encoder.conv_in.bias": "encoder.conv_in.b"}.get(key, key))
    with pytest.raises(ValueError, match=r"missing: encoder\.conv_in\.bias; unexpected: encoder\.conv_in\.b"):
        load_vae(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"{}")
    with pytest.raises(ValueError, match="not readable as safetensors"):
        load_vae(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected {WEIGHTS} in"):
        load_vae(tmp_path)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / WEIGHTS).touch()
    with pytest.raises(ValueError, match="expected JSON"):
        load_vae(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": "AutoencoderKLFlux2"}, "_class_name = 'AutoencoderKL', got 'AutoencoderKLFlux2'"),
        ({"use_quant_conv": False}, "use_post_quant_conv = False, got True"),
        ({"act_fn": "relu"}, "act_fn = 'silu', got 'relu'"),
        ({"latents_meen": None}, "unknown keys latents_meen"),
    ],
)
def test_the_config_of_another_network_is_refused(changes, said):
    values = {"_class_name": "AutoencoderKL", "use_quant_conv": True, "use_post_quant_conv": True}
    with pytest.raises(ValueError, match=said):
        vae_sizes(values | changes)


def test_the_config_tells_every_size(vae, tmp_path):
    values = json.loads((saved(vae, tmp_path) / "config.json").read_text())
    assert VAEConfig(**vae_sizes(values), packing=2, image_size=16) == SMALL


def test_without_diffusers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"diffusers is not installed; pip install 'unimm\[vae\]'"):
        VAE(SMALL)
