"""Vision encoders against numbers recorded from RAE and Scale-RAE."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open

from tests.conftest import recorded_files
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.weights.encoders import ENCODER_MAPS, ENCODER_PREFIXES, encoder_sizes, read_encoder
from unimm.weights.folder import load_strictly

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
NORM_EPS = {"mae": 1e-12}


def built(tensors, kind, prefix, **options):
    """Return the encoder of published tensors; it sees pixels as they were recorded, already standardised."""
    sizes = encoder_sizes(tensors, kind, prefix)
    sizes = {"image_size": sizes["native_size"], "norm_eps": NORM_EPS.get(kind, 1e-6)} | sizes | options
    encoder = build_encoder(EncoderConfig(**sizes, kind=kind, pixel_mean=0.0, pixel_std=1.0))
    load_strictly(encoder, read_encoder(tensors, kind, prefix))
    return encoder.eval().requires_grad_(False)


def heads_of(metadata):
    return int(re.search(r"heads(\d+)", json.loads(metadata["config"])["encoder"])[1])


@pytest.mark.parity("rae/encoder_mae_tiny", "rae/encoder_siglip_tiny")
def test_mae_and_siglip_give_the_recorded_tokens(recorded):
    kind = "mae" if "mae" in recorded.name else "siglip2"
    heads = heads_of(recorded.metadata)
    encoder = built(recorded.tensors, kind, "state.model.", heads=heads)
    tokens = encoder.encode(recorded.tensors["in.pixel_values"])
    torch.testing.assert_close(tokens, recorded.tensors["out.tokens"], **TOLERANCE)


@pytest.mark.parity("rae/encoder_dinov2reg_tiny_interp")
def test_dinov2_at_a_size_of_which_it_has_no_positions(recorded):
    # The weights are those of another file, as this one's note says.
    with safe_open(recorded_files()["rae/rae_dinov2reg_tiny_mean_var"], "pt") as whole:
        tensors = {name: whole.get_tensor(name) for name in whole.keys()}  # noqa: SIM118 (not a dict)
        heads = heads_of(whole.metadata())
    pixels, prefix = recorded.tensors["in.pixel_values"], "state." + ENCODER_PREFIXES["rae"]["dinov2reg"]
    encoder = built(tensors, "dinov2reg", prefix, heads=heads, image_size=pixels.shape[-1])
    assert encoder.config.resamples_positions
    for _ in range(2):  # made, then remembered
        torch.testing.assert_close(encoder.encode(pixels), recorded.tensors["out.tokens"], **TOLERANCE)


@pytest.mark.parity("scale_rae/webssl_like_tiny")
def test_webssl_keeps_its_norm(recorded):
    """The file does not say how many heads: one divisor of the width must give the recorded numbers."""
    pixels, wanted = recorded.tensors["in.pixel_values"], recorded.tensors["out.features_patch_tokens"]
    width = wanted.shape[-1]
    errors = {}
    for heads in (n for n in range(1, width + 1) if width % n == 0):
        encoder = built(recorded.tensors, "webssl", "dinov2.", heads=heads, image_size=pixels.shape[-1])
        errors[heads] = (encoder.encode(pixels) - wanted).abs().max().item()
    best, *others = sorted(errors.values())
    assert best < 1e-5
    assert others[0] > 10 * best


ROUND_TRIPS = {
    "rae/encoder_mae_tiny": ("mae", "state.model."),
    "rae/encoder_siglip_tiny": ("siglip2", "state.model."),
    "scale_rae/webssl_like_tiny": ("webssl", "dinov2."),
}


@pytest.mark.parity("rae/encoder_mae_tiny", "rae/encoder_siglip_tiny", "scale_rae/webssl_like_tiny")
def test_names_read_and_written_back_are_the_published_ones(recorded):
    kind, prefix = ROUND_TRIPS[recorded.name]
    parameters, _ = ENCODER_MAPS[kind].read(recorded.tensors, prefix)
    written = ENCODER_MAPS[kind].write(parameters, prefix)
    head = re.compile(re.escape(prefix) + r"head\.")  # of SigLIP, which latents never meet
    published = {k: x for k, x in recorded.tensors.items() if k.startswith(prefix) and not head.match(k)}
    assert written.keys() == published.keys()
    assert all(torch.equal(written[k], published[k]) for k in published)
