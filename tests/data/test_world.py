"""The picture store holds what its scenes look like, and is never mistaken for another."""

import numpy as np
import pytest

from unimm.data.world import PictureStore, scene
from unimm.world.render import render


def test_a_store_holds_the_pictures_of_its_scenes(tmp_path):
    built = PictureStore.build(tmp_path, seed=3, count=7, pixels=24, workers=1)
    reopened = PictureStore.build(tmp_path, seed=3, count=7, pixels=24)
    for index in (0, 6):
        expected = render(scene(3, index), 24)
        assert np.array_equal(built.pictures[index], expected)
        assert np.allclose(reopened.pixels_of([index])[0].permute(1, 2, 0).numpy() * 255, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures.u8", "store.json"]


def test_a_store_of_another_seed_is_refused(tmp_path):
    PictureStore.build(tmp_path, seed=3, count=2, pixels=24, workers=1)
    with pytest.raises(ValueError, match="delete it or name another"):
        PictureStore.build(tmp_path, seed=4, count=2, pixels=24)
