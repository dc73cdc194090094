"""Padded SwiGLUs are the same functions and stay so in training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.dit.small import VECTORS, WIDE, awake, inputs
from unimm.dit.bodies import body_classes
from unimm.dit.padding import pad_swiglu, padded, round_up

CASES = [("lightning", VECTORS), ("ddt", WIDE)]


def test_the_published_odd_widths_become_round():
    assert [round_up(width) for width in (5461, 5504, 85)] == [5504, 5504, 128]
    assert round_up(5461, 128) == 5504


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_padding_changes_no_velocity_and_no_gradient(kind, config):
    body_class = body_classes(kind)[1]
    body = awake(body_class(config))
    wider = body_class(padded(config, 32))
    wider.load_state_dict(pad_swiglu(body.state_dict(), 32))
    assert [config.width, body.blocks[0].mlp.out.in_features] == [32, 85]
    assert wider.blocks[0].mlp.out.in_features == 96
    x, t, conditions = inputs(config)
    for network in (body, wider):
        network(x, t, conditions).square().sum().backward()
    v, wanted = wider(x, t, conditions), body(x, t, conditions)
    torch.testing.assert_close(v, wanted, atol=1e-5, rtol=1e-5)
    gradients = {name: p.grad for name, p in wider.named_parameters()}
    of_padded = pad_swiglu({n: p.grad for n, p in body.named_parameters() if p.grad is not None}, 32)
    for name, gradient in of_padded.items():  # zero rows and columns: the new units get no gradient
        assert (gradients[name] - gradient).norm() <= 1e-4 * gradient.norm()
        assert torch.equal(gradients[name] == 0, gradient == 0)


def test_other_mlps_are_left_alone_and_have_nothing_to_pad():
    gelu = dataclasses.replace(VECTORS, mlp="gelu", mlp_width=85)
    state = body_classes("lightning")[1](gelu).state_dict()
    assert all(torch.equal(x, state[name]) for name, x in pad_swiglu(state).items())
    with pytest.raises(ValueError, match="dit.mlp: expected 'swiglu', got 'gelu'"):
        padded(gelu)
