"""Scenes that obey a prompt: the ground truth against which the reader and the decoder are measured."""

from __future__ import annotations

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.scene import COLUMN, JITTER, LAYOUTS, ROW, Scene, Thing
from unimm.world.spec import Mention, Spec, holds


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _kinds(mentions: tuple[Mention, ...], rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Return (shape, colour, size) of every thing mentioned; what a mention leaves open is drawn."""
    many = sum(mention.count for mention in mentions) > 2
    kinds = []
    for mention in mentions:
        colour = mention.colour or _pick(rng, tuple(words.COLOURS))
        size = mention.size or ("small" if many else _pick(rng, tuple(words.SIZES)))
        kinds += [(mention.shape, colour, size)] * mention.count
    return kinds


def _anchors(count: int, relation: str | None, rng: np.random.Generator):
    """Return where the things stand; the first one first."""
    if relation is None:
        return _pick(rng, LAYOUTS[count])
    anchors = ROW if relation in ("left of", "right of") else COLUMN
    return anchors if relation in ("left of", "above") else anchors[::-1]


def scene_for(spec: Spec, rng: np.random.Generator) -> Scene:
    """Draw a scene that a prompt of one to four things describes, in the world's own layouts.

    Raises:
        ValueError: the prompt mentions nothing, more than four things, or a word.
    """
    kinds = _kinds(spec.mentions, rng)
    if not 1 <= len(kinds) <= 4 or spec.word is not None:
        raise ValueError(f"spec: expected one to four things and no word, got {spec}")
    things = []
    for (x, y), (shape, colour, size) in zip(_anchors(len(kinds), spec.relation, rng), kinds, strict=True):
        dx, dy = rng.uniform(-JITTER[len(kinds)], JITTER[len(kinds)], 2)
        things.append(Thing(shape, colour, x + dx, y + dy, rng.uniform(*words.SIZES[size])))
    scene = Scene(spec.background or _pick(rng, tuple(words.BACKGROUNDS)), tuple(things))
    assert holds(spec, scene), (spec, scene)
    return scene
