"""Gram matrices: a known answer, blindness to places, gradients."""

from __future__ import annotations

import pytest
import torch

from unimm.perceptual import gram_distance


def test_the_distance_is_that_of_gatys_divided_as_johnson_does():
    a, b = torch.randn(2, 3, 4, 5, 6).double().unbind(0)
    expected = []
    for one, two in zip(a, b, strict=True):
        grams = [torch.einsum("ihw,jhw->ij", x, x) / (4 * 5 * 6) for x in (one, two)]
        expected.append((grams[0] - grams[1]).square().sum() / 16)
    found = gram_distance([a.float(), a.float()], [b.float(), b.float()])
    torch.testing.assert_close(found, 2 * torch.stack(expected).float())


def test_it_is_blind_to_where_things_are_and_sees_what_they_are():
    maps = torch.rand(2, 3, 8, 8)
    moved = maps.flatten(2)[..., torch.randperm(64)].unflatten(2, (8, 8))
    assert gram_distance([maps], [moved]).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert (gram_distance([maps], [maps.flip(1)]) > 1e-6).all()


def test_it_is_float32_under_autocast_and_its_gradient_falls():
    maps = torch.rand(1, 3, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        distance = gram_distance([maps], [torch.ones(1, 3, 4, 4)])
    assert distance.dtype == torch.float32
    distance.sum().backward()
    with torch.no_grad():
        lower = gram_distance([maps - 0.1 * maps.grad], [torch.ones(1, 3, 4, 4)])
    assert lower < distance
