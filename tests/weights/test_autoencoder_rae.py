"""Diffusers' layout of a representation autoencoder: read, written, and refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unimm.latents import RAE, DecoderConfig, EncoderConfig, RAEConfig
from unimm.weights import load_strictly
from unimm.weights.autoencoder_rae import AutoencoderRAE, read_autoencoder_rae, write_autoencoder_rae

ENCODER = {
    "image_size": 16,
    "patch_size": 8,
    "width": 64,
    "depth": 2,
    "heads": 1,
    "mlp_width": 64,
    "native_size": 32,
    "registers": 0,
    "norm_eps": 1e-12,
    "resize": "bicubic",
    "kind": "mae",
    "pixel_mean": (0.4, 0.5, 0.6),
    "pixel_std": (0.1, 0.2, 0.3),
}
DECODER = {
    "channels": 64,
    "width": 32,
    "depth": 1,
    "heads": 4,
    "mlp_width": 48,
    "patch_size": 4,
    "grid": 2,
    "pixel_mean": (0.4, 0.5, 0.6),
    "pixel_std": (0.1, 0.2, 0.3),
    "position_step": 8.0,
}


@pytest.fixture
def parts():
    rae = RAE(RAEConfig(EncoderConfig(**ENCODER), DecoderConfig(**DECODER)))
    encoder, decoder = dict(rae.encoder.state_dict()), dict(rae.decoder.state_dict())
    return AutoencoderRAE(
        ENCODER, DECODER, encoder, decoder, torch.randn(64, 2, 2), torch.rand(64, 2, 2) + 0.5
    )


@pytest.fixture
def published(parts):
    return write_autoencoder_rae(parts)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_an_autoencoder_written_is_read_back(parts, published):
    config, theirs = published
    assert theirs["decoder.decoder_layers.0.attention.to_out.0.weight"].shape == (32, 32)
    assert config["encoder_type"] == "mae"
    back = read_autoencoder_rae(config, theirs)
    assert back.encoder_config == ENCODER
    assert back.decoder_config == DECODER
    assert equal(back.encoder, parts.encoder)
    assert equal(back.decoder, parts.decoder)
    assert torch.equal(back.mean, parts.mean)
    assert torch.equal(back.std, parts.std)
    assert not back.unread


def test_the_names_are_those_of_diffusers_own_decoder(published):
    from diffusers.models.autoencoders.autoencoder_rae import RAEDecoder

    theirs = RAEDecoder(64, 32, 1, 4, 48, num_patches=4, patch_size=4, image_size=8)
    inside = {k.removeprefix("decoder."): x for k, x in published[1].items() if k.startswith("decoder.")}
    load_strictly(theirs, inside)


def test_statistics_that_were_never_set_are_one_number(published):
    config, theirs = published
    theirs |= {"_latents_mean": torch.zeros(1), "_latents_std": torch.ones(1)}
    back = read_autoencoder_rae(config, theirs)
    assert back.mean.tolist() == [0] * 64
    assert back.std.tolist() == [1] * 64


def test_positions_are_diffusers_unless_said_otherwise(parts, published):
    assert read_autoencoder_rae(*published, position_step=1.0).decoder_config["position_step"] == 1
    counted = dataclasses.replace(parts, decoder_config=DECODER | {"position_step": 1.0})
    with pytest.raises(ValueError, match="expected decoder positions 8.0 apart on a grid of 2, got 1.0"):
        write_autoencoder_rae(counted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_class_name": "AutoencoderKL"}, "expected _class_name = 'AutoencoderRAE', got 'AutoencoderKL'"),
        ({"scaling_factor": 0.5}, "expected scaling_factor = 1.0, got 0.5"),
        ({"encoder_type": "clip"}, "encoder_type: expected one of dinov2, siglip2, mae, got 'clip'"),
        ({"depth": 3}, "unknown: depth"),
        ({"decoder_hidden_size": 48}, r"decoder_hidden_size \(32 by the tensors, 48 said\)"),
        ({"image_size": 16}, r"image_size \(8 by the tensors, 16 said\)"),
        ({"encoder_norm_mean": [0.5, 0.5, 0.5]}, "encoder_mean holds .* its config says"),
    ],
)
def test_a_config_that_makes_another_network_is_refused(published, changes, said):
    config, theirs = published
    with pytest.raises(ValueError, match=said):
        read_autoencoder_rae(config | changes, theirs)


def test_gaps_and_strangers_are_listed(published):
    config, theirs = published
    with pytest.raises(ValueError, match="unexpected: discriminator.head"):
        read_autoencoder_rae(config, theirs | {"discriminator.head": torch.ones(1)})
    with pytest.raises(ValueError, match="missing: _latents_std"):
        read_autoencoder_rae(config, {k: x for k, x in theirs.items() if k != "_latents_std"})
    gone = "decoder.decoder_layers.0.attention.to_q.bias"
    with pytest.raises(ValueError, match=f"missing: {gone}"):
        read_autoencoder_rae(config, {k: x for k, x in theirs.items() if k != gone})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "webssl"}, "expected one of dinov2reg, siglip2, mae, got 'webssl'"),
        ({"heads": 2}, "expected 1 encoder heads for a width of 64, got 2"),
    ],
)
def test_what_diffusers_cannot_build_is_not_written(parts, changes, said):
    with pytest.raises(ValueError, match=said):
        write_autoencoder_rae(dataclasses.replace(parts, encoder_config=ENCODER | changes))
