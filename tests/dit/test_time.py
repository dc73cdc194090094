"""Embeddings of time: closed forms, the direction of time, and the numbers that shipped weights rest on."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.dit.time import TimeEmbedding, fourier_frequencies, sinusoid_frequencies, time_kind

TIMES = torch.tensor([0.0, 0.25, 1.0])


def with_unit_layers(embedding):
    """Let hidden pass the features and out pass SiLU of them."""
    with torch.no_grad():
        torch.nn.init.eye_(embedding.hidden.weight)
        torch.nn.init.eye_(embedding.out.weight)
        embedding.hidden.bias.zero_()
        embedding.out.bias.zero_()
    return embedding


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("fourier", lambda t, f: [math.sin(2 * math.pi * t * f), math.cos(2 * math.pi * t * f)]),
        ("sinusoid", lambda t, f: [math.cos(t * f), math.sin(t * f)]),
    ],
)
def test_features_are_those_of_the_formula(kind, expected):
    frequencies = torch.tensor([0.5, 3.0])
    features = time_kind(kind).features(TIMES, frequencies)
    wanted = [[expected(t, f)[half] for half in (0, 1) for f in frequencies.tolist()] for t in TIMES.tolist()]
    torch.testing.assert_close(features, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_sinusoid_frequencies_fall_from_one_towards_the_inverse_period():
    frequencies = sinusoid_frequencies()
    assert frequencies.shape == (128,)
    assert frequencies[0] == 1
    torch.testing.assert_close(frequencies[64].item(), 0.01, atol=1e-8, rtol=0)
    torch.testing.assert_close(sinusoid_frequencies(4, 16.0), torch.tensor([1.0, 0.5, 0.25, 0.125]))


def test_scale_and_direction_act_on_time_before_the_features():
    plain = with_unit_layers(TimeEmbedding(256, "sinusoid"))
    turned = with_unit_layers(TimeEmbedding(256, "sinusoid", scale=1000.0, reversed=True))
    frequencies = sinusoid_frequencies()
    # 0, 1/4 and 1 times 1000 are exact, so the angles are the same whichever factor is scaled first but for
    # the rounding of 1000 f.
    faster = plain(1 - TIMES, 1000 * frequencies)
    torch.testing.assert_close(turned(TIMES, frequencies), faster, atol=1e-3, rtol=0)


def test_the_default_gives_the_numbers_that_shipped_weights_rest_on():
    embedding, frequencies = TimeEmbedding(24), fourier_frequencies()
    assert list(embedding.state_dict()) == ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]
    angle = 2 * math.pi * TIMES[:, None] * frequencies
    hidden = embedding.hidden(torch.cat([angle.sin(), angle.cos()], dim=-1))
    assert torch.equal(embedding(TIMES, frequencies), embedding.out(torch.nn.functional.silu(hidden)))


def test_another_number_of_frequencies_is_said_when_built():
    embedding = TimeEmbedding(24, "sinusoid", num_frequencies=5)
    assert embedding(TIMES, sinusoid_frequencies(5, 10.0)).shape == (3, 24)


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'sinusoid'"):
        TimeEmbedding(8, "sinusoidal")


@pytest.mark.parametrize("strange", [1.5, -0.25, 500.0, math.nan])
def test_times_outside_the_path_are_refused(strange):
    embedding = TimeEmbedding(4)
    embedding(torch.tensor([-1e-7, 1 + 1e-7]), fourier_frequencies())
    with pytest.raises(ValueError, match=r"t: expected times in \[0, 1\]"):
        embedding(torch.tensor([0.5, strange]), fourier_frequencies())
