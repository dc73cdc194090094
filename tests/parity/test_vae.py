"""FLUX's kind of VAE against numbers recorded from diffusers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from unimm.latents.vae import VAE, VAEConfig
from unimm.latents.vae_folder import load_tower, vae_sizes

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture
def vae(recorded):
    sizes = vae_sizes(recorded.value["config"])
    config = VAEConfig(**sizes, image_size=2 ** len(sizes["widths"]))
    vae = VAE(config).eval()
    load_tower(vae, recorded.under(recorded.value["state_dict_prefix"]))
    return vae


@pytest.fixture
def pixels(recorded):
    return recorded.tensors["in.image"] / 2 + 0.5  # recorded in [-1, 1]


def normalised(vae, z):
    return (z - vae.config.shift_factor) * vae.config.scaling_factor


def spaces(vae, maps):
    """Yield the VAE and the size in tokens of latents [B C h w], and the same with 2 x 2 in a token."""
    for packing in (1, 2):
        if all(length % packing == 0 for length in maps.shape[-2:]):
            space = VAE(dataclasses.replace(vae.config, packing=packing)).eval()
            space.tower = vae.tower
            yield space, tuple(length // packing for length in maps.shape[-2:])


@pytest.mark.parity("sd3/autoencoder_kl_flux_like")
@torch.no_grad()
def test_the_posterior_is_the_recorded_one(recorded, vae, pixels):
    mean, std = vae.moments(pixels)
    wanted_mean, wanted_std = recorded.tensors["out.mean"], recorded.tensors["out.std"]
    size = tuple(wanted_mean.shape[-2:])
    torch.testing.assert_close(vae.unpack(mean, size), normalised(vae, wanted_mean), **TOLERANCE)
    torch.testing.assert_close(vae.unpack(std, size), wanted_std * vae.config.scaling_factor, **TOLERANCE)
    z, s = vae.unpack(mean, size) / vae.config.scaling_factor + vae.config.shift_factor, wanted_std
    kl = 0.5 * (z.square() + s.square() - 1 - 2 * s.log()).sum((1, 2, 3))
    torch.testing.assert_close(kl, recorded.tensors["out.kl"], atol=1e-3, rtol=1e-5)
    assert torch.equal(vae.encode(pixels), mean)
    torch.testing.assert_close(recorded.tensors["out.mode"], wanted_mean)


@pytest.mark.parity("sd3/autoencoder_kl_flux_like")
@torch.no_grad()
def test_a_sample_with_the_recorded_noise_is_the_recorded_latent(recorded, vae, pixels):
    noise, wanted = recorded.tensors["in.noise"], recorded.tensors["out.scaled_latent"]
    torch.testing.assert_close(
        normalised(vae, recorded.tensors["out.sample_with_noise"]), wanted, **TOLERANCE
    )
    for space, size in spaces(vae, wanted):
        mean, std = space.moments(pixels)
        assert mean.shape == (len(noise), math.prod(size), space.config.channels)
        torch.testing.assert_close(space.unpack(mean + std * space.pack(noise), size), wanted, **TOLERANCE)


@pytest.mark.parity("sd3/autoencoder_kl_flux_like")
@torch.no_grad()
def test_latents_decode_to_the_recorded_pictures(recorded, vae):
    latents = recorded.tensors["out.scaled_latent"]
    mode = normalised(vae, recorded.tensors["out.mean_f64"]).float()
    for space, size in spaces(vae, latents):
        for maps, name in ((latents, "out.decoded"), (mode, "out.decoded_mode_f64")):
            shown = space(space.pack(maps), size)
            torch.testing.assert_close(shown * 2 - 1, recorded.tensors[name].float(), **TOLERANCE)
            assert torch.equal(space.decode(space.pack(maps), size), shown.clamp(0, 1))
