"""Latent spaces: one interface, whatever the kind; the representation autoencoder and plain pixels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.latents.autoencoder import (
    LATENT_SPACES,
    RAE,
    Patches,
    PatchesConfig,
    RAEConfig,
    build_latent_space,
    latent_space,
)
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.latents.vae import SDVAEConfig

ENCODER = EncoderConfig(
    image_size=12, patch_size=4, width=8, depth=1, heads=2, mlp_width=16, resize="bicubic"
)
DECODER = DecoderConfig(channels=8, width=16, depth=1, heads=2, mlp_width=16, patch_size=8, grid=3)
VAE = SDVAEConfig(image_size=24, widths=(4, 8), layers_per_block=1, norm_groups=2)
CONFIGS = {
    "rae": RAEConfig(ENCODER, DECODER),
    "sd_vae": VAE,
    "sd3_vae": LATENT_SPACES["sd3_vae"][0](**{**dataclasses.asdict(VAE), "latent_channels": 16}),
    "vae": dataclasses.replace(VAE, latent_channels=8, packing=2),
    "flux_vae": LATENT_SPACES["flux_vae"][0](image_size=24, widths=(4, 8), layers_per_block=1, norm_groups=2),
    "pixels": PatchesConfig(patch_size=4, image_size=24),
}


def pixels(*size, batch=2):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [kind for kind in LATENT_SPACES if kind != "bare"])  # which has no pixels
@torch.no_grad()
def test_every_kind_speaks_the_one_interface(kind):
    torch.manual_seed(0)
    config = CONFIGS[kind]
    space = build_latent_space(kind, config).eval()
    assert config.image_size == 24
    latents = space.encode(pixels(24, 24))
    assert latents.shape == (2, config.grid**2, config.channels)
    assert latents.dtype == torch.float32
    free = space(latents)
    assert free.shape == (2, 3, 24, 24)
    assert torch.equal(space(latents, (config.grid, config.grid)), free)
    assert torch.equal(space.decode(latents), free.clamp(0, 1))
    with pytest.raises(ValueError, match="latents: .*, got"):
        space.decode(latents[..., 1:])
    with pytest.raises(ValueError, match="NaN or infinity in picture 0"):
        space.decode(latents / 0)


@torch.no_grad()
def test_the_autoencoder_normalises_what_it_encodes_and_restores_what_it_decodes():
    rae = RAE(CONFIGS["rae"]).eval()
    mean, std = torch.randn(9, 8), torch.rand(9, 8) + 0.5
    rae.statistics.set(mean, std)
    x = pixels(12, 12)
    raw = rae.encoder.encode(x)
    torch.testing.assert_close(rae.encode(x), (raw - mean) / std)
    torch.testing.assert_close(rae(rae.encode(x)), rae.decoder(raw))
    assert {"statistics.mean", "statistics.std"} <= rae.state_dict().keys()


@torch.no_grad()
def test_published_noise_is_laid_on_raw_latents():
    rae = RAE(CONFIGS["rae"]).eval()
    rae.statistics.set(torch.zeros(8), torch.full((8,), 0.25))
    x, generator = pixels(12, 12), torch.Generator().manual_seed(0)
    noised = rae.encode_noised(x, 0.8, torch.Generator().manual_seed(0))
    sigma = torch.rand(2, generator=generator) * 0.8
    noise = torch.randn(2, 9, 8, generator=generator)
    torch.testing.assert_close(noised, 4 * (rae.encoder.encode(x) + sigma[:, None, None] * noise))


def test_encoder_and_decoder_must_fit():
    with pytest.raises(ValueError, match="rae.decoder: expected .*'grid': 3.* got .*'grid': 4"):
        RAEConfig(ENCODER, dataclasses.replace(DECODER, grid=4))
    rae = RAE(CONFIGS["rae"])
    with pytest.raises(ValueError, match="size: expected 3 x 3, the grid of this decoder, got 1 x 9"):
        rae(torch.zeros(1, 9, 8), (1, 9))


def test_pixels_are_a_latent_space_without_loss():
    space = Patches(PatchesConfig(patch_size=2, image_size=4))
    x = pixels(4, 6)
    latents = space.encode(x)
    assert latents.shape == (2, 6, 12)
    # Token 4 is row 1, column 1 of patches; in it (y, x, channel).
    torch.testing.assert_close(latents[0, 4], x[0, :, 2:4, 2:4].permute(1, 2, 0).flatten() * 2 - 1)
    torch.testing.assert_close(space.decode(latents, (2, 3)), x)
    assert space.state_dict() == {}
    with pytest.raises(ValueError, match="multiples of 2, got 4 x 5"):
        space.encode(pixels(4, 5))
    with pytest.raises(ValueError, match="pixels.image_size: expected a multiple of patch_size = 3, got 4"):
        PatchesConfig(patch_size=3, image_size=4)


def test_kinds_are_known_by_name():
    assert PatchesConfig().channels == 768
    assert latent_space("rae") == (RAEConfig, RAE)
    with pytest.raises(ValueError, match="got 'flux'; did you mean 'flux_vae'"):
        latent_space("flux")
    with pytest.raises(ValueError, match="rae: expected a RAEConfig, got PatchesConfig"):
        build_latent_space("rae", PatchesConfig())
