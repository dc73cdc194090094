"""Scenes are drawn by seed, and what is in them stays apart and inside."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from unimm.world import scene as scenes
from unimm.world import vocabulary as words
from unimm.world.scene import sample_scene


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return [sample_scene(rng) for _ in range(4000)]


def test_the_same_seed_draws_the_same_scenes():
    first, second = ([sample_scene(np.random.default_rng([7, i])) for i in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 50


def test_things_lie_inside_the_picture_and_apart(drawn):
    for scene in drawn:
        for thing in scene.things:
            assert thing.radius < min(thing.x, thing.y, 1 - thing.x, 1 - thing.y)
        for a, b in combinations(scene.things, 2):
            assert np.hypot(a.x - b.x, a.y - b.y) >= a.radius + b.radius - 1e-9


def test_every_sort_occurs_as_often_as_it_should(drawn):
    numbers = Counter("written" if scene.writing else len(scene.things) for scene in drawn)
    share = {number: count / len(drawn) for number, count in numbers.items()}
    assert share["written"] == pytest.approx(scenes.SORTS[scenes.written], abs=0.02)
    assert share[1] == pytest.approx(scenes.SORTS[scenes.single], abs=0.03)
    assert set(numbers) == {"written", 1, 2, 3, 4}


def test_every_word_of_the_vocabulary_is_drawn(drawn):
    things = [thing for scene in drawn for thing in scene.things]
    assert {thing.shape for thing in things} == set(words.SHAPES)
    assert {thing.colour for thing in things} == set(words.COLOURS)
    assert {scene.background for scene in drawn} == set(words.BACKGROUNDS)
    assert {scene.writing.text for scene in drawn if scene.writing} == set(words.WORDS)


def test_a_size_is_what_its_range_says():
    rng = np.random.default_rng(1)
    for name, (low, high) in words.SIZES.items():
        assert all(scenes.Thing("star", "red", 0.5, 0.5, r).size == name for r in rng.uniform(low, high, 50))


def test_colours_stay_away_from_every_background():
    colours, tones = (np.array(list(d.values()), float) for d in (words.COLOURS, words.BACKGROUNDS))
    assert np.sqrt(np.square(colours[:, None] - tones[None]).sum(-1)).min() >= 75
