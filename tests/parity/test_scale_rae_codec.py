"""Vision tower and pixel decoder against numbers recorded from Scale-RAE."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from unimm.latents import DecoderConfig, EncoderConfig, RAEDecoder, SiglipEncoder, to_images
from unimm.weights import DECODER, SIGLIP, SIGLIP_WITH_HEAD, load_strictly

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def encoder_config(recorded, **options):
    sizes = json.loads(recorded.metadata["siglip_vision_config"])
    return EncoderConfig(
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        width=sizes["hidden_size"],
        depth=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        mlp_width=sizes["intermediate_size"],
        **options,
    )


def build_decoder(recorded):
    sizes = json.loads(recorded.metadata["decoder_config"])
    parameters, tables = DECODER.read(recorded.tensors, prefix="decoder.")
    config = DecoderConfig(
        channels=parameters["embed.weight"].shape[1],
        width=sizes["decoder_hidden_size"],
        depth=sizes["decoder_num_hidden_layers"],
        heads=sizes["decoder_num_attention_heads"],
        mlp_width=sizes["decoder_intermediate_size"],
        patch_size=sizes["patch_size"],
        grid=sizes["image_size"] // sizes["patch_size"],
        norm_eps=sizes["layer_norm_eps"],
    )
    decoder = RAEDecoder(config)
    load_strictly(decoder, parameters)
    return decoder.eval(), tables


@pytest.mark.parity("scale_rae/codec_tiny")
@pytest.mark.parametrize(("use_head", "names"), [(False, SIGLIP), (True, SIGLIP_WITH_HEAD)])
def test_the_encoder_gives_the_recorded_latents(recorded, use_head, names):
    encoder = SiglipEncoder(encoder_config(recorded, use_head=use_head)).eval()
    load_strictly(encoder, names.read(recorded.tensors, prefix="siglip_vision.")[0])
    inputs = recorded.tensors["in.pixel_values"]
    with torch.no_grad():
        hidden = encoder.hidden(inputs)
        latents = encoder.encode(inputs * 0.5 + 0.5)  # recorded after the tower's own pixel mean and std
    torch.testing.assert_close(hidden, recorded.tensors["mid.hidden_last_pre_post_ln"], **TOLERANCE)
    torch.testing.assert_close(latents, recorded.tensors["out.features"], **TOLERANCE)


@pytest.mark.parity("scale_rae/codec_tiny")
def test_the_decoder_gives_the_recorded_picture(recorded):
    decoder, tables = build_decoder(recorded)
    torch.testing.assert_close(decoder.positions, tables["positions"], **TOLERANCE)
    latents = recorded.tensors["in.latents"]
    with torch.no_grad():
        patches, pixels = decoder.patches(latents), decoder(latents)
        again = decoder(recorded.tensors["out.features"])
    torch.testing.assert_close(patches, recorded.tensors["out.patch_logits"], **TOLERANCE)
    torch.testing.assert_close(pixels, recorded.tensors["out.image"], **TOLERANCE)
    torch.testing.assert_close(again, recorded.tensors["out.reconstruction_of_features"], **TOLERANCE)


@pytest.mark.parity("scale_rae/codec_tiny")
def test_pictures_differ_from_the_truncated_ones_by_one_level_at_most(recorded):
    pictures = np.stack([np.asarray(image) for image in to_images(recorded.tensors["out.image"])])
    wanted = recorded.tensors["out.image_u8"].numpy()
    assert np.abs(pictures.astype(int) - wanted).max() <= 1


@pytest.mark.parity("scale_rae/codec_tiny")
def test_names_read_and_written_back_are_the_published_ones(recorded):
    for names, prefix in ((DECODER, "decoder."), (SIGLIP_WITH_HEAD, "siglip_vision.")):
        parameters, tables = names.read(recorded.tensors, prefix)
        written = names.write(parameters | tables, prefix)
        published = {k: x for k, x in recorded.tensors.items() if k.startswith(prefix)}
        assert written.keys() == published.keys()
        assert all(torch.equal(written[k], published[k]) for k in published)
