"""The picture store holds what its scenes look like, and is never mistaken for another."""

import numpy as np
import pytest
import torch

from unimm.data.world import PictureStore, on_wall, scene
from unimm.latents.pixels import resize_pixels
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


def test_a_store_of_single_things_is_another_store(tmp_path):
    built = PictureStore.build(tmp_path, seed=3, count=5, pixels=24, scenes="single", workers=1)
    reopened = PictureStore.build(tmp_path, seed=3, count=5, pixels=24, scenes="single")
    assert all(len(reopened.scene(index).things) == 1 for index in range(5))
    assert np.array_equal(built.pictures[4], render(scene(3, 4, "single"), 24))
    with pytest.raises(ValueError, match="delete it or name another"):
        PictureStore.build(tmp_path, seed=3, count=5, pixels=24)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (24, 16), (20, 20)])
def test_a_scene_on_a_wider_wall_keeps_everything(height, width):
    pixels = torch.rand(2, 3, 24, 24)
    wall = on_wall(pixels, height, width)
    assert wall.shape == (2, 3, height, width)
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    inside = wall[..., top : top + side, left : left + side]
    assert torch.equal(inside, resize_pixels(pixels, side))
    assert torch.equal(wall[..., 0, :left], wall[..., 0, left : left + 1].expand(-1, -1, left))
