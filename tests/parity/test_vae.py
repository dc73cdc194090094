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


def packed_twice(vae):
    """Return the same VAE with 2 x 2 latent pixels in a token."""
    packed = VAE(dataclasses.replace(vae.config, packing=2)).eval()
    packed.tower = vae.tower
    return packed


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
@pytest.mark.parametrize("packing", [1, 2])
@torch.no_grad()
def test_a_sample_with_the_recorded_noise_is_the_recorded_latent(recorded, vae, pixels, packing):
    space = vae if packing == 1 else packed_twice(vae)
    noise, wanted = recorded.tensors["in.noise"], recorded.tensors["out.scaled_latent"]
    mean, std = space.moments(pixels)
    size = tuple(length // packing for length in wanted.shape[-2:])
    torch.testing.assert_close(space.unpack(mean + std * space.pack(noise), size), wanted, **TOLERANCE)
    torch.testing.assert_close(
        normalised(vae, recorded.tensors["out.sample_with_noise"]), wanted, **TOLERANCE
    )
    assert mean.shape == (len(noise), math.prod(size), noise.shape[1] * packing**2)


@pytest.mark.parity("sd3/autoencoder_kl_flux_like")
@pytest.mark.parametrize("packing", [1, 2])
@torch.no_grad()
def test_latents_decode_to_the_recorded_pictures(recorded, vae, packing):
    space = vae if packing == 1 else packed_twice(vae)
    latents, wanted = recorded.tensors["out.scaled_latent"], recorded.tensors["out.decoded"]
    size = tuple(length // packing for length in latents.shape[-2:])
    shown = space(space.pack(latents), size)
    torch.testing.assert_close(shown * 2 - 1, wanted, **TOLERANCE)
    assert torch.equal(space.decode(space.pack(latents), size), shown.clamp(0, 1))
    mode = normalised(vae, recorded.tensors["out.mean_f64"]).float()
    wanted = recorded.tensors["out.decoded_mode_f64"].float()
    torch.testing.assert_close(space(space.pack(mode), size) * 2 - 1, wanted, **TOLERANCE)
