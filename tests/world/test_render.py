"""Pictures show what the scene says, in its colours, at any size."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.world import vocabulary as words
from unimm.world.render import OUTLINES, coverage, render
from unimm.world.scene import Scene, Thing, Writing, sample_scene


def test_a_picture_is_uint8_of_the_asked_size_and_the_same_every_time():
    scene = sample_scene(np.random.default_rng(0))
    picture = render(scene, 64)
    assert picture.dtype == np.uint8
    assert picture.shape == (64, 64, 3)
    assert np.array_equal(picture, render(scene, 64))


@pytest.mark.parametrize("colour", words.COLOURS)
@pytest.mark.parametrize("background", words.BACKGROUNDS)
def test_the_middle_has_the_things_colour_and_the_rim_the_backgrounds(colour, background):
    picture = render(Scene(background, (Thing("square", colour, 0.5, 0.5, 0.2),)), 80).astype(float)
    assert np.abs(picture[38:42, 38:42].mean((0, 1)) - words.COLOURS[colour]).max() < 8
    assert np.abs(picture[:2].mean((0, 1)) / 1.05 - words.BACKGROUNDS[background]).max() < 4


def test_an_outline_covers_its_area_whatever_the_resolution():
    known = {
        "circle": np.pi * 0.92**2,
        "square": 1.6**2,
        "diamond": 2 * 0.7,
        "cross": 4 * 0.95 * 0.6 - 0.6**2,
    }
    for shape, area in known.items():
        for pixels in (40, 80, 333):
            rows = np.arange(pixels)
            covered = coverage(Thing(shape, "red", 0.5, 0.5, 0.3), rows, rows, pixels).sum() / pixels**2
            assert covered == pytest.approx(area * 0.3**2, rel=0.03), (shape, pixels)


def test_no_two_outlines_are_alike():
    rows = np.arange(80)
    masks = {s: coverage(Thing(s, "red", 0.5, 0.5, 0.4), rows, rows, 80) for s in OUTLINES}
    assert set(masks) == set(words.SHAPES)
    for a in masks:
        for b in masks:
            overlap = np.minimum(masks[a], masks[b]).sum() / np.maximum(masks[a], masks[b]).sum()
            assert (overlap == 1) if a == b else (overlap < 0.85), (a, b, overlap)


def test_a_shape_stands_upright_and_a_moon_opens_to_the_right():
    rows = np.arange(80)
    triangle = coverage(Thing("triangle", "red", 0.5, 0.5, 0.4), rows, rows, 80)
    assert triangle[:40].sum() < triangle[40:].sum()
    heart = coverage(Thing("heart", "red", 0.5, 0.5, 0.4), rows, rows, 80)
    assert heart[:40].sum() > heart[40:].sum()
    moon = coverage(Thing("moon", "red", 0.5, 0.5, 0.4), rows, rows, 80)
    assert moon[:, :40].sum() > 2 * moon[:, 40:].sum()


@pytest.mark.parametrize("text", words.WORDS)
def test_a_word_fits_into_the_picture_in_its_colour(text):
    empty, written = (
        render(Scene("slate", (), w), 80).astype(int) for w in (None, Writing(text, "yellow", 0.5, 0.5))
    )
    rows, columns = np.nonzero(np.abs(written - empty).max(-1) > 40)
    assert 3 < columns.min() < columns.max() < 77
    assert rows.max() - rows.min() <= 0.3 * 80 + 1
    assert (np.abs(written - np.array(words.COLOURS["yellow"])).max(-1) < 2).sum() > 30


def test_the_light_comes_from_the_upper_left():
    picture = render(Scene("mint", (Thing("square", "red", 0.5, 0.5, 0.3),)), 80).astype(int)
    assert picture[25, 25, 0] > picture[40, 40, 0] > picture[55, 55, 0]
