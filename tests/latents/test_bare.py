"""Latents whose autoencoder is not read: statistics both ways, and pixels refused with what to do."""

from __future__ import annotations

import pytest
import torch

from unimm.latents.autoencoder import LATENT_SPACES
from unimm.latents.bare import Bare, BareConfig

CONFIG = BareConfig(channels=3, grid=2, image_size=32, codec="VA-VAE")


def test_raw_maps_are_restored_in_reading_order():
    assert LATENT_SPACES["bare"] == (BareConfig, Bare)
    space = Bare(CONFIG)
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 1.0, 0.5])
    space.statistics.set(mean, std)
    latents = torch.randn(2, 4, 3)
    maps = space.raw_maps(latents)
    # Token 2 is row 1, column 0.
    torch.testing.assert_close(maps[:, :, 1, 0], latents[:, 2] * std + mean)
    torch.testing.assert_close(space.latents_of(maps), latents)


def test_pixels_are_refused_with_what_to_do():
    space = Bare(CONFIG)
    with pytest.raises(ValueError, match="VA-VAE is not read here; encode with it"):
        space.encode(torch.zeros(1, 3, 32, 32))
    for show in (space, space.decode):
        with pytest.raises(ValueError, match="VA-VAE is not read here; draw with output_type='latent'"):
            show(torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match="size: expected 2 x 2"):
        space(torch.zeros(1, 4, 3), (1, 4))
    with pytest.raises(ValueError, match="bare.grid: expected a positive number, got 0"):
        BareConfig(channels=3, grid=0, image_size=32)
