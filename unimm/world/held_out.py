"""Combinations that no training stream ever shows or mentions; `held_out.json` lists them.

Four lists, so that every task family has prompts never trained on: shape with colour (colours, attribution),
shape with shape (two objects, position), count with shape (counting), shape with background (single object).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from itertools import combinations

import numpy as np

from unimm.world.scene import Scene, sample_scene
from unimm.world.spec import Spec

KINDS = ("shape_colour", "shape_shape", "count_shape", "shape_background")


@lru_cache(maxsize=1)
def held_out() -> dict[str, frozenset[tuple]]:
    """Return the held-out combinations by kind. Shape pairs are in alphabetical order."""
    listed = json.loads(files("unimm.world").joinpath("held_out.json").read_text())
    return {kind: frozenset(tuple(entry) for entry in listed[kind]) for kind in KINDS}


def _combinations_of(
    kinds: list[tuple[str, str | None, int]], background: str | None
) -> set[tuple[str, tuple]]:
    """List the combinations in a set of (shape, colour, count) before a background."""
    shapes = sorted({shape for shape, _, _ in kinds})
    return {
        *(("shape_colour", (shape, colour)) for shape, colour, _ in kinds),
        *(("shape_shape", pair) for pair in combinations(shapes, 2)),
        *(("count_shape", (count, shape)) for shape, _, count in kinds),
        *(("shape_background", (shape, background)) for shape in shapes),
    }


def in_scene(scene: Scene) -> set[tuple[str, tuple]]:
    """Return the held-out combinations that a scene shows, as (kind, combination)."""
    counts = scene.counts()
    kinds = [(thing.shape, thing.colour, counts[thing.shape]) for thing in scene.things]
    return {
        (kind, entry)
        for kind, entry in _combinations_of(kinds, scene.background)
        if entry in held_out()[kind]
    }


def in_spec(spec: Spec) -> set[tuple[str, tuple]]:
    """Return the held-out combinations that a claim mentions, as (kind, combination)."""
    kinds = [(mention.shape, mention.colour, mention.count) for mention in spec.mentions]
    return {
        (kind, entry) for kind, entry in _combinations_of(kinds, spec.background) if entry in held_out()[kind]
    }


def sample_allowed(
    rng: np.random.Generator, sample: Callable[[np.random.Generator], Scene] = sample_scene
) -> Scene:
    """Draw a scene of the world, or of one of its sorts, that shows no held-out combination."""
    while in_scene(scene := sample(rng)):
        pass
    return scene
