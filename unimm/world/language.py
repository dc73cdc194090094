"""Wording: a claim about a picture in one of several phrasings, from terse to dense."""

from __future__ import annotations

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.scene import Scene
from unimm.world.spec import Mention, Spec, related

_OPENINGS = ("", "", "a photo of ", "a picture of ", "a drawing of ")
_RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}


def pick(rng: np.random.Generator, options):
    """Return one of the options."""
    return options[int(rng.integers(len(options)))]


def noun(mention: Mention) -> str:
    """Return e.g. 'a small red circle' or 'two stars'."""
    name = mention.shape if mention.count == 1 else words.plural(mention.shape)
    described = " ".join(word for word in (mention.size, mention.colour, name) if word)
    if mention.count == 1:
        return words.article(described)
    return f"{words.COUNT_WORDS[mention.count]} {described}"


def phrase(spec: Spec, rng: np.random.Generator) -> str:
    """Put a claim into words."""
    parts = [noun(mention) for mention in spec.mentions]
    if spec.word is not None:
        inked = f"{spec.word_colour} " if spec.word_colour else ""
        parts.insert(0, f'the {inked}word "{spec.word}"')
    if spec.relation is not None:
        text = f"{parts[0]} {pick(rng, _RELATION_WORDS[spec.relation])} {parts[1]}"
    else:
        text = " and ".join(parts)
    if spec.background is not None:
        text += f" on a {spec.background} background"
    return pick(rng, _OPENINGS) + text


def _kinds(scene: Scene) -> dict[tuple[str, str], list]:
    kinds: dict[tuple[str, str], list] = {}
    for thing in scene.things:
        kinds.setdefault((thing.shape, thing.colour), []).append(thing)
    return kinds


def _mention(things: list, colour: bool, size: bool) -> Mention:
    sizes = {thing.size for thing in things}
    return Mention(
        things[0].shape,
        things[0].colour if colour else None,
        sizes.pop() if size and len(sizes) == 1 else None,
        count=len(things),
        exact=len(things) > 1,
    )


def _relation(groups: list[list]) -> str | None:
    """Return the one relation in which all of the first group stand to all of the second, if there is one."""
    for relation in words.RELATIONS:
        if all(related(relation, a, b) for a in groups[0] for b in groups[1]):
            return relation
    return None


def _in_reading_order(groups: list[list]) -> list[list]:
    """Return groups from left to right, or from top to bottom where they stand one over the other."""
    return sorted(groups, key=lambda group: sum(thing.x + thing.y for thing in group) / len(group))


def describe(scene: Scene, rng: np.random.Generator, density: float) -> Spec:
    """Return a claim that is true of a scene; each detail is told with probability `density`.

    Things are named in reading order, as people do, unless their relation is told: then in either order.
    """

    def told() -> bool:
        return bool(rng.random() < density)

    groups = _in_reading_order(list(_kinds(scene).values()))
    relation = None
    if len(groups) == 2 and told():
        if rng.random() < 0.5:
            groups.reverse()
        relation = _relation(groups)
    colour = told()
    mentions = tuple(_mention(group, colour, told() and told()) for group in groups)
    writing = scene.writing
    return Spec(
        mentions=mentions,
        relation=relation,
        background=scene.background if told() else None,
        word=writing.text if writing else None,
        word_colour=writing.colour if writing and told() else None,
    )


DENSITIES = (0.0, 0.5, 0.5, 0.75, 1.0)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a caption of random density, from terse to dense."""
    return phrase(describe(scene, rng, pick(rng, DENSITIES)), rng)
