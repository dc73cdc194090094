"""Positions of encoders on another grid than their own: resampled once, and again when they change."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.latents import towers
from tests.latents.towers import pixels, tiny
from unimm.latents.encoder import ENCODERS, build_encoder

KINDS = sorted(ENCODERS)


@pytest.fixture(params=KINDS)
def resampling(request):
    """A frozen encoder whose latents lie on another grid than its positions, and a count of resamplings."""
    encoder = towers.shake(build_encoder(tiny(request.param, image_size=12, native_size=20)))
    encoder.requires_grad_(False)
    kept = encoder.embeddings.interpolate_pos_encoding
    times = []
    kept._resampled = lambda *args: times.append(1) or type(kept)._resampled(kept, *args)
    return encoder, times


def test_positions_are_resampled_once(resampling):
    encoder, times = resampling
    first = encoder.encode(pixels(12))
    assert torch.equal(encoder.encode(pixels(12)), first)
    assert len(times) == 1


def positions_of(encoder):
    embeddings = encoder.embeddings
    if hasattr(embeddings, "position_embedding"):
        return embeddings.position_embedding.weight
    return embeddings.position_embeddings


def test_positions_are_resampled_again_when_they_change(resampling):
    encoder, times = resampling
    first = encoder.encode(pixels(12))
    with torch.no_grad():
        positions_of(encoder).mul_(2)
    second = encoder.encode(pixels(12))
    assert not torch.allclose(first, second)
    state = {k: x.clone() for k, x in encoder.state_dict().items()}
    with torch.no_grad():
        positions_of(encoder).mul_(0.5)
    torch.testing.assert_close(encoder.encode(pixels(12)), first)
    encoder.load_state_dict(state)
    assert torch.equal(encoder.encode(pixels(12)), second)
    encoder.double()
    torch.testing.assert_close(encoder.encode(pixels(12).double()), second, atol=1e-4, rtol=1e-4)
    assert len(times) == 5


def test_a_copy_has_positions_of_its_own(resampling):
    encoder, _ = resampling
    first = encoder.encode(pixels(12))
    del encoder.embeddings.interpolate_pos_encoding._resampled
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        positions_of(twin).mul_(2)
    assert not torch.allclose(twin.encode(pixels(12)), first)
    assert torch.equal(encoder.encode(pixels(12)), first)


def test_gradients_reach_the_positions(resampling):
    encoder, times = resampling
    positions_of(encoder).requires_grad_(True)
    for _ in range(2):
        encoder.encode(pixels(12)).square().mul(torch.randn(16)).sum().backward()
    assert positions_of(encoder).grad.abs().sum() > 0
    assert len(times) == 2


@pytest.mark.parametrize("resampling", ["dinov2reg", "mae"], indirect=True)
def test_a_compiled_encoder_is_one_graph_and_keeps_its_positions(resampling):
    encoder, _ = resampling
    del encoder.embeddings.interpolate_pos_encoding._resampled
    wanted = encoder.encode(pixels(12))
    encoder.reset_tables()
    graphs = []
    road = torch.compile(
        encoder.encode, fullgraph=True, backend=lambda graph, _: graphs.append(graph.code) or graph
    )
    for _ in range(3):
        torch.testing.assert_close(road(pixels(12)), wanted)
    assert ["functional.interpolate(" in code for code in graphs] == [True, False]
    encoder.load_state_dict({k: 2 * x for k, x in encoder.state_dict().items()})
    changed = road(pixels(12))
    assert not torch.allclose(changed, wanted)
    torch.testing.assert_close(changed, encoder.encode(pixels(12)))
