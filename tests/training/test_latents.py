"""Cached latents: which caches are one and the same, and which are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unimm.data.world import PictureStore
from unimm.training.latents import cache_key, cached_latents, weights_hash


@pytest.fixture
def stores(tmp_path):
    """Pictures of every sort and of one thing each, of the same seed and number."""
    options = {"seed": 3, "count": 5, "pixels": 8, "workers": 1}
    return {
        scenes: PictureStore.build(tmp_path / scenes, scenes=scenes, **options)
        for scenes in ("any", "single")
    }


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return nn.Conv2d(3, 6, 4, stride=4)


def filled(folder, store, encoder):
    return cached_latents(str(folder), store, encoder, (4, 6), lambda x: encoder(x).flatten(2).mT)


def test_a_key_says_weights_and_seed_and_scenes_of_one_sort(stores, encoder):
    assert cache_key(encoder, stores["any"]) == f"{weights_hash(encoder)}/3"
    assert cache_key(encoder, stores["single"]) == f"{weights_hash(encoder)}/3/single"


def test_what_is_kept_is_what_was_encoded(tmp_path, stores, encoder):
    cache = filled(tmp_path / "kept", stores["any"], encoder)
    expected = encoder(stores["any"].pixels_of([4, 0])).flatten(2).mT
    torch.testing.assert_close(cache[[4, 0]], expected, rtol=1e-2, atol=1e-2)  # bfloat16
    assert not cache[[0]].requires_grad


def test_other_scenes_or_weights_are_refused(tmp_path, stores, encoder):
    filled(tmp_path / "kept", stores["any"], encoder)
    with pytest.raises(ValueError, match="expected a cache with key=.*/3/single"):
        filled(tmp_path / "kept", stores["single"], encoder)
    encoder.bias.data += 1
    with pytest.raises(ValueError, match="expected a cache with key="):
        filled(tmp_path / "kept", stores["any"], encoder)
