"""Whole representation autoencoders against numbers recorded from RAE and from diffusers."""

from __future__ import annotations

import json
import re

import pytest
import torch

from unimm.latents import RAE, DecoderConfig, EncoderConfig, RAEConfig
from unimm.latents.decoder import IMAGENET_MEAN, IMAGENET_STD
from unimm.latents.noise import add_noise
from unimm.latents.statistics import published_statistics, tokens_of
from unimm.weights import load_strictly
from unimm.weights.autoencoder_rae import read_autoencoder_rae, write_autoencoder_rae
from unimm.weights.encoders import ENCODER_PREFIXES, encoder_sizes, read_encoder
from unimm.weights.rae import decoder_sizes, read_decoder, read_statistics

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}


def wired(encoder_config, decoder_config, encoder, decoder, mean, std):
    rae = RAE(RAEConfig(EncoderConfig(**encoder_config), DecoderConfig(**decoder_config)))
    load_strictly(rae.encoder, encoder)
    load_strictly(rae.decoder, decoder)
    rae.statistics.set(mean, std)
    return rae.eval().requires_grad_(False)


# RAE's own files.

ORIGINAL = pytest.mark.parity("rae/rae_dinov2reg_tiny_mean_var", "rae/rae_dinov2reg_tiny_var_only")


def original(recorded, heads):
    state = recorded.under("state.")
    kind, config = "dinov2reg", json.loads(recorded.metadata["config"])
    prefix = ENCODER_PREFIXES["rae"][kind]
    colours = {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD}
    sizes = encoder_sizes(state, kind, prefix) | {
        "kind": kind,
        "heads": int(re.search(r"heads(\d+)", config["encoder"])[1]),
        "resize": "bicubic",
    }
    statistics = {
        "mean": recorded.tensors.get("in.stat_mean"),
        "var": recorded.tensors["in.stat_var"],
    }
    return wired(
        {"image_size": sizes["native_size"]} | sizes | colours,
        decoder_sizes(state, heads=heads) | colours,
        read_encoder(state, kind, prefix),
        read_decoder(state),
        *published_statistics(*read_statistics(statistics)),
    )


@ORIGINAL
@torch.no_grad()
def test_rae_encodes_and_noises_as_recorded(recorded):
    rae = original(recorded, heads=1)
    pixels = recorded.tensors["in.image01"]
    raw, latents = rae.encoder.encode(pixels), rae.encode(pixels)
    torch.testing.assert_close(raw, recorded.tensors["out.encoder_tokens"], **TOLERANCE)
    torch.testing.assert_close(latents, tokens_of_batch(recorded.tensors["out.latent"]), **TOLERANCE)
    sigma, noise = recorded.tensors["in.noise_sigma"].flatten(), recorded.tensors["in.noise_eps"]
    noised = rae.statistics.normalise(add_noise(raw, sigma, noise))
    wanted = tokens_of_batch(recorded.tensors["out.latent_noised_train_mode"])
    torch.testing.assert_close(noised, wanted, **TOLERANCE)


@ORIGINAL
@torch.no_grad()
def test_rae_decodes_as_recorded(recorded):
    """The file does not say how many heads the decoder has: one divisor of the width must fit."""
    width = recorded.tensors["state.decoder.trainable_cls_token"].shape[-1]
    latents, wanted = tokens_of_batch(recorded.tensors["out.latent"]), recorded.tensors["out.reconstruction"]
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    best, *others = sorted((original(recorded, n)(latents) - wanted).abs().max().item() for n in divisors)
    assert best < 2e-5
    assert others[0] > 1e-4


def tokens_of_batch(maps):
    """Return [B N C] of recorded latents [B C H W]."""
    return torch.stack([tokens_of(map_) for map_ in maps])


# Diffusers' layout.

DIFFUSERS = pytest.mark.parity("sd3/autoencoder_rae_siglip2", "sd3/autoencoder_rae_dinov2")


@pytest.fixture
def parts(recorded):
    state = recorded.under(recorded.value["state_dict_prefix"])
    return read_autoencoder_rae(recorded.value["config"], state)


def sizes_recorded(recorded):
    """Return what stands after "in.image" in the names of the pictures: nothing, or which other size."""
    return [name.removeprefix("in.image") for name in recorded.tensors if name.startswith("in.image")]


def from_diffusers(parts):
    return wired(
        parts.encoder_config,
        parts.decoder_config,
        parts.encoder,
        parts.decoder,
        *published_statistics(parts.mean, parts.std, "std_plus_eps"),
    )


@DIFFUSERS
@torch.no_grad()
def test_diffusers_pictures_become_the_recorded_latents(recorded, parts):
    rae = from_diffusers(parts)
    pixels = recorded.tensors["in.image"]
    standardised = rae.encoder.standardise(rae.encoder.fit(pixels))
    torch.testing.assert_close(standardised, recorded.tensors["out.preprocessed"], **TOLERANCE)
    raw = rae.encoder.encode(pixels)
    torch.testing.assert_close(raw, recorded.tensors["out.encoder_tokens"], **TOLERANCE)
    for name in sizes_recorded(recorded):
        latents = rae.encode(recorded.tensors[f"in.image{name}"])
        wanted = tokens_of_batch(recorded.tensors[f"out.latent{name}"])
        torch.testing.assert_close(latents, wanted, **TOLERANCE)


@DIFFUSERS
@torch.no_grad()
def test_diffusers_latents_become_the_recorded_pictures(recorded, parts):
    rae = from_diffusers(parts)
    patches = rae.decoder.patches(recorded.tensors["out.encoder_tokens"])
    torch.testing.assert_close(patches, recorded.tensors["out.decoder_logits_from_tokens"], **TOLERANCE)
    shown = rae.decoder.unpatchify(patches)
    torch.testing.assert_close(shown, recorded.tensors["out.unpatchified"], **TOLERANCE)
    torch.testing.assert_close(
        rae.decoder.positions, recorded.tensors["out.decoder_pos_embed"][0, 1:], **TOLERANCE
    )
    for name in sizes_recorded(recorded):
        latents = tokens_of_batch(recorded.tensors[f"out.latent{name}"])
        torch.testing.assert_close(rae(latents), recorded.tensors[f"out.decoded{name}"], **TOLERANCE)


@DIFFUSERS
def test_diffusers_files_are_written_back_as_they_were(recorded, parts):
    config, state = write_autoencoder_rae(parts)
    published = recorded.under(recorded.value["state_dict_prefix"])
    assert state.keys() == published.keys()
    for name, x in published.items():
        torch.testing.assert_close(state[name], x, rtol=0, atol=0)
    of_training = {"noise_tau", "use_encoder_loss", "reshape_to_2d"}
    said = {k: x for k, x in recorded.value["config"].items() if x is not None and k not in of_training}
    assert said == {name: config[name] for name in said}
    again = read_autoencoder_rae(json.loads(json.dumps(config)), state)
    assert again.encoder_config == parts.encoder_config
    assert again.decoder_config == parts.decoder_config
