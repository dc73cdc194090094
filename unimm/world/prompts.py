"""Prompts of GenEval's six task families, held in (every combination was trained on) or held out (one never
was)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.held_out import held_out, in_spec
from unimm.world.language import phrase, pick
from unimm.world.spec import FAMILIES, Mention, Spec


@dataclass(frozen=True)
class Prompt:
    """A sentence and what a picture must show to obey it."""

    text: str
    spec: Spec


def _shape(rng: np.random.Generator) -> str:
    return pick(rng, words.SHAPES)


def _colour(rng: np.random.Generator) -> str:
    return pick(rng, tuple(words.COLOURS))


def _two_shapes(rng: np.random.Generator) -> list[str]:
    return [words.SHAPES[i] for i in rng.permutation(len(words.SHAPES))[:2]]


def _single_object(rng: np.random.Generator) -> Spec:
    return Spec((Mention(_shape(rng)),), background=pick(rng, tuple(words.BACKGROUNDS)))


def _two_object(rng: np.random.Generator) -> Spec:
    return Spec(tuple(Mention(shape) for shape in _two_shapes(rng)))


def _counting(rng: np.random.Generator) -> Spec:
    return Spec((Mention(_shape(rng), count=int(rng.integers(2, 5)), exact=True),))


def _colors(rng: np.random.Generator) -> Spec:
    return Spec((Mention(_shape(rng), _colour(rng)),))


def _position(rng: np.random.Generator) -> Spec:
    return replace(_two_object(rng), relation=pick(rng, words.RELATIONS))


def _color_attr(rng: np.random.Generator) -> Spec:
    return Spec(tuple(Mention(shape, _colour(rng)) for shape in _two_shapes(rng)))


_DRAW: dict[str, Callable[[np.random.Generator], Spec]] = dict(
    zip(FAMILIES, (_single_object, _two_object, _counting, _colors, _position, _color_attr), strict=True)
)
# The list that makes a prompt of the family a held-out one.
_HELD_OUT_BY = {
    "single_object": "shape_background",
    "two_object": "shape_shape",
    "counting": "count_shape",
    "colors": "shape_colour",
    "position": "shape_shape",
    "color_attr": "shape_colour",
}
SPLITS = ("held_in", "held_out")


def sample_prompt(family: str, split: str, rng: np.random.Generator) -> Prompt:
    """Draw one prompt.

    Raises:
        ValueError: unknown family or split.
    """
    if family not in _DRAW or split not in SPLITS:
        raise ValueError(
            f"prompt: expected a family of {FAMILIES} and a split of {SPLITS}, got {family!r}, {split!r}"
        )
    assert held_out()[_HELD_OUT_BY[family]]
    while True:
        spec = replace(_DRAW[family](rng), family=family)
        unseen = {kind for kind, _ in in_spec(spec)}
        if unseen == (set() if split == "held_in" else {_HELD_OUT_BY[family]}):
            return Prompt(phrase(spec, rng), spec)


def prompts(split: str, per_family: int, seed: int = 0) -> list[Prompt]:
    """Return a balanced list of prompts; the first k per family are the same for every `per_family` >= k."""
    drawn = []
    for index, family in enumerate(FAMILIES):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        drawn.append([sample_prompt(family, split, rng) for _ in range(per_family)])
    return [prompt for row in zip(*drawn, strict=True) for prompt in row]
