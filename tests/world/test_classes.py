"""Classes of single things: every allowed pair of colour and shape has one, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.world import vocabulary as words
from unimm.world.classes import CLASSES, class_of, sample_single
from unimm.world.held_out import held_out, in_scene
from unimm.world.scene import Scene, Thing, Writing


def test_there_is_a_class_for_every_allowed_pair():
    held = held_out()["shape_colour"]
    assert len(CLASSES) == len(set(CLASSES)) == len(words.SHAPES) * len(words.COLOURS) - len(held)
    assert "red circle" in CLASSES
    assert not {f"{colour} {shape}" for shape, colour in held} & set(CLASSES)


def test_training_scenes_show_every_class_and_nothing_held_out():
    rng = np.random.default_rng(0)
    scenes = [sample_single(rng) for _ in range(1500)]
    assert {class_of(scene) for scene in scenes} == set(range(len(CLASSES)))
    assert not any(in_scene(scene) for scene in scenes)
    thing = scenes[0].things[0]
    assert CLASSES[class_of(scenes[0])] == f"{thing.colour} {thing.shape}"


@pytest.mark.parametrize(
    "scene",
    [
        Scene("sky"),
        Scene("sky", (Thing("circle", "red", 0.3, 0.5, 0.1), Thing("circle", "red", 0.7, 0.5, 0.1))),
        Scene("sky", (Thing("circle", "green", 0.5, 0.5, 0.1),)),
        Scene("sky", (Thing("circle", "red", 0.5, 0.7, 0.1),), Writing("hi", "red", 0.5, 0.2)),
    ],
)
def test_other_scenes_have_no_class(scene):
    with pytest.raises(ValueError, match="scene: expected one thing of a class"):
        class_of(scene)
