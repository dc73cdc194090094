"""The pixel decoder, its gradients, and the running statistics against numbers recorded from RAE."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from unimm.latents import DecoderConfig, RAEDecoder
from unimm.latents.pixels import to_reference_images
from unimm.latents.statistics import Momentum
from unimm.weights import load_strictly
from unimm.weights.rae import RAE_DECODER, decoder_sizes, read_decoder, write_decoder

OUTPUTS, GRADIENTS = {"atol": 2e-5, "rtol": 0}, {"atol": 1e-5, "rtol": 1e-5}


def build_decoder(recorded):
    config = json.loads(recorded.metadata["config"])
    state = recorded.under("state.")
    # Pixels were recorded before the mean and std are put back.
    options = {"pixel_mean": 0.0, "pixel_std": 1.0, "norm_eps": config["ln_eps"]}
    decoder = RAEDecoder(DecoderConfig(**decoder_sizes(state, heads=config["heads"]), **options))
    load_strictly(decoder, read_decoder(state))
    return decoder


@pytest.mark.parity("rae/decoder_tiny", "rae/decoder_tiny_upsample2x")
def test_the_decoder_gives_the_recorded_patches_and_picture(recorded):
    decoder = build_decoder(recorded).eval()
    config = json.loads(recorded.metadata["config"])
    assert decoder.config.patch_size == config["patch_out"]
    assert decoder.config.mlp_width == config["mlp"]
    with torch.no_grad():
        patches, pixels = (
            decoder.patches(recorded.tensors["in.tokens"]),
            decoder(recorded.tensors["in.tokens"]),
        )
    torch.testing.assert_close(patches, recorded.tensors["out.logits"], **OUTPUTS)
    torch.testing.assert_close(pixels, recorded.tensors["out.image_normalised"], **OUTPUTS)


@pytest.mark.parity("rae/decoder_tiny", "rae/decoder_tiny_upsample2x")
def test_latents_of_another_grid_give_the_recorded_patches(recorded):
    decoder = build_decoder(recorded).eval()
    (others,) = [x for name, x in recorded.tensors.items() if name.startswith("in.tokens_")]
    (wanted,) = [x for name, x in recorded.tensors.items() if name.startswith("out.logits_from_")]
    assert math.isqrt(others.shape[1]) != decoder.config.grid
    with torch.no_grad():
        torch.testing.assert_close(decoder.patches_resized(others), wanted, **OUTPUTS)


@pytest.mark.parity("rae/decoder_tiny", "rae/decoder_tiny_upsample2x")
@pytest.mark.parametrize("saving", [False, True])
def test_every_gradient_is_the_recorded_one(recorded, saving):
    decoder = build_decoder(recorded).train()
    decoder.gradient_checkpointing = saving
    decoder(recorded.tensors["in.tokens"]).square().mean().backward()
    wanted, _ = RAE_DECODER.read(recorded.under("grad."))
    ours = {name: p.grad for name, p in decoder.named_parameters()}
    assert ours.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(ours[name], gradient, **GRADIENTS, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parity("rae/decoder_tiny", "rae/decoder_tiny_upsample2x")
def test_names_read_and_written_back_are_the_published_ones(recorded):
    published = recorded.under("state.")
    decoder = build_decoder(recorded)
    written = write_decoder(decoder.state_dict() | {"positions": decoder.positions})
    assert written.keys() == published.keys()
    for name, x in published.items():
        torch.testing.assert_close(written[name], x, **OUTPUTS)


@pytest.mark.parity("rae/misc")
def test_the_running_statistics_are_the_recorded_ones(recorded):
    batches = recorded.tensors["in.latent_batches"].flatten(3).mT  # [batches B N C]
    (name,) = [key for key in recorded.tensors if key.startswith("out.running_mean_momentum")]
    running = Momentum(*batches.shape[2:], momentum=float(name.partition("momentum")[2]))
    for batch in batches:
        running.update(batch)
    for key, ours in ((name, running.mean), (name.replace("mean", "var"), running.variance)):
        wanted = recorded.tensors[key]
        torch.testing.assert_close(ours.mT.reshape(wanted.shape), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parity("scale_rae/codec_tiny")
def test_reference_pictures_are_the_recorded_ones_to_the_level(recorded):
    pictures = to_reference_images(recorded.tensors["out.image"])
    assert np.array_equal(
        np.stack([np.asarray(x) for x in pictures]), recorded.tensors["out.image_u8"].numpy()
    )
