"""Distances between pictures."""

from __future__ import annotations

import pytest
import torch

from unimm.perceptual import FeatureDistance


def test_equal_pictures_are_no_distance_apart_and_brightness_of_a_feature_is_ignored():
    distance = FeatureDistance(lambda pixels: [pixels, pixels[:, :2]])
    pixels = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    assert distance(pixels, pixels).tolist() == [0, 0]
    torch.testing.assert_close(distance(pixels, pixels * 3), torch.zeros(2), atol=1e-6, rtol=0)


def test_orthogonal_features_are_two_apart_in_each_map():
    red, green = torch.zeros(2, 1, 3, 4, 4)
    red[:, 0], green[:, 1] = 1, 1
    distance = FeatureDistance(lambda pixels: [pixels, pixels[..., :2, :2]])
    assert distance(red, green).tolist() == [4]
    half = red.clone()
    half[..., 2:] = green[..., 2:]
    assert FeatureDistance(lambda pixels: [pixels])(red, half).tolist() == [1]


def test_gradients_reach_the_pixels_also_where_features_are_zero():
    pixels = torch.zeros(1, 3, 4, 4, requires_grad=True)
    FeatureDistance(lambda p: [p])(pixels, torch.ones(1, 3, 4, 4)).sum().backward()
    assert pixels.grad.isfinite().all()


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="two equal shapes"):
        FeatureDistance(lambda p: [p])(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="at least one feature map"):
        FeatureDistance(lambda p: [])(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
