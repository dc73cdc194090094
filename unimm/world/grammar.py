"""From words back to a claim: `language.phrase` inverted, to judge what a model says of a picture."""

from __future__ import annotations

import re
from collections import Counter

from unimm.world import vocabulary as words
from unimm.world.scene import Scene
from unimm.world.spec import Mention, Spec, holds

_RELATIONS = {
    "to the left of": "left of",
    "to the right of": "right of",
    "left of": "left of",
    "right of": "right of",
    "above": "above",
    "over": "above",
    "below": "below",
    "under": "below",
}
_NUMBERS = {"a": 1, "an": 1, **{word: count for count, word in words.COUNT_WORDS.items()}}
_NAMES = {shape: shape for shape in words.SHAPES} | {words.plural(shape): shape for shape in words.SHAPES}


def _any(options) -> str:
    return "|".join(map(re.escape, options))


_OPENING = re.compile(r"an? (?:photo|picture|drawing) of (?=\S)")
_BACKGROUND = re.compile(rf"^(.+) on an? ({_any(words.BACKGROUNDS)}) background$")
_WRITING = re.compile(rf'the (?:({_any(words.COLOURS)}) )?word "([a-z]+)"')
_NOUN = re.compile(
    rf"({_any(_NUMBERS)}) (?:({_any(words.SIZES)}) )?(?:({_any(words.COLOURS)}) )?({_any(_NAMES)})"
)
_RELATED = re.compile(rf"^(.+?) ({_any(_RELATIONS)}) (.+)$")


def parse(text: str) -> Spec | None:
    """Return the claim that a sentence makes, or None if it is not a sentence of the world.

    A number above one is meant exactly, as in captions. Case, spaces around and a full stop do not matter.
    """
    text = text.strip().lower().removesuffix(".")
    opening = _OPENING.match(text)
    text = text[opening.end() :] if opening else text
    background = None
    if found := _BACKGROUND.match(text):
        text, background = found.groups()
    relation = None
    if found := _RELATED.match(text):
        first, spoken, second = found.groups()
        relation, parts = _RELATIONS[spoken], [first, second]
    else:
        parts = text.split(" and ")
    word = word_colour = None
    if relation is None and (found := _WRITING.fullmatch(parts[0])):
        word_colour, word = found.groups()
        parts = parts[1:]
    mentions = [_mention(part) for part in parts]
    if None in mentions or len(mentions) > 2 or (not mentions and word is None):
        return None
    return Spec(tuple(mentions), relation, background, word, word_colour)


def _mention(text: str) -> Mention | None:
    found = _NOUN.fullmatch(text)
    if found is None:
        return None
    number, size, colour, name = found.groups()
    count = _NUMBERS[number]
    if (name != _NAMES[name]) != (count > 1):
        return None
    return Mention(_NAMES[name], colour, size, count, exact=count > 1)


def tells_all(text: str, scene: Scene) -> bool:
    """Whether a caption is true of a scene and leaves nothing out.

    Everything it says must hold; and it must name every thing, by shape, colour and number, and a word if
    there is one. Sizes, the background, a relation and the word's colour may be left out.
    """
    spec = parse(text)
    if spec is None or not holds(spec, scene):
        return False
    said = Counter({(m.shape, m.colour): 0 for m in spec.mentions})
    for mention in spec.mentions:
        said[mention.shape, mention.colour] += mention.count
    shown = Counter((thing.shape, thing.colour) for thing in scene.things)
    return said == shown and spec.word == (scene.writing.text if scene.writing else None)
