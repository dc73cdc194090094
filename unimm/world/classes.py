"""Classes of the world: scenes of one thing, told apart by its colour and shape; held-out pairs have none."""

from __future__ import annotations

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.held_out import held_out, sample_allowed
from unimm.world.scene import Scene, single

CLASSES: tuple[str, ...] = tuple(
    f"{colour} {shape}"
    for shape in words.SHAPES
    for colour in words.COLOURS
    if (shape, colour) not in held_out()["shape_colour"]
)
"""Names by number, such as "red circle"; a class that no scene shows would only be a wrong answer."""


def sample_single(rng: np.random.Generator) -> Scene:
    """Draw a scene of one thing that shows no held-out combination."""
    return sample_allowed(rng, single)


def class_of(scene: Scene) -> int:
    """Return the number of a scene's class.

    Raises:
        ValueError: a scene of no thing, of several, or of a held-out pair.
    """
    things = scene.things
    name = f"{things[0].colour} {things[0].shape}" if len(things) == 1 else ""
    if name not in CLASSES or scene.writing is not None:
        raise ValueError(f"scene: expected one thing of a class and no writing, got {scene}")
    return CLASSES.index(name)
