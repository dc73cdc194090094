"""Questions about a picture with exact answers: open, yes/no and multiple choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.held_out import in_spec
from unimm.world.language import caption, describe, noun, phrase, pick
from unimm.world.scene import Scene
from unimm.world.spec import Mention, Spec, holds, related

DESCRIBE = "Describe this image."
ALIGN = "Does this image align with the prompt: {prompt}?"  # Scale-RAE's verifier (2601.16208, section 5)
_LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """A question, its one right answer, and its kind (the row of a score card)."""

    text: str
    answer: str
    kind: str


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _colour(rng: np.random.Generator) -> str:
    return pick(rng, tuple(words.COLOURS))


def _unique(scene: Scene, attribute: str) -> list:
    """Return the things whose shape (or colour) no other thing shares."""
    values = [getattr(thing, attribute) for thing in scene.things]
    return [thing for thing in scene.things if values.count(getattr(thing, attribute)) == 1]


def _choices(rng: np.random.Generator, answer: str, others: tuple[str, ...]) -> tuple[str, str]:
    """Return ' A. red B. blue ...' and the letter of the answer."""
    wrong = [value for value in others if value != answer]
    options = [answer, *(wrong[i] for i in rng.permutation(len(wrong))[:3])]
    options = [options[i] for i in rng.permutation(len(options))]
    letters = _LETTERS[: len(options)]
    listed = " ".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
    return listed, _LETTERS[options.index(answer)]


def existence(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Is there a red circle? Half the time there is."""
    if scene.things and rng.random() < 0.5:
        thing = pick(rng, scene.things)
        shape, colour = thing.shape, thing.colour
    else:
        shape, colour = pick(rng, words.SHAPES), _colour(rng)
    mention = Mention(shape, colour if rng.random() < 0.6 else None)
    if in_spec(Spec((mention,))):
        return None
    return Question(f"Is there {noun(mention)}?", _yes(holds(Spec((mention,)), scene)), "existence")


def count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """How many stars are there?"""
    present = scene.things and rng.random() < 0.8
    shape = pick(rng, scene.things).shape if present else pick(rng, words.SHAPES)
    return Question(f"How many {words.plural(shape)} are there?", str(scene.counts()[shape]), "count")


def colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What color is the star? Open, or with choices."""
    things = [t for t in scene.things if len({o.colour for o in scene.things if o.shape == t.shape}) == 1]
    if not things:
        return None
    thing = pick(rng, things)
    several = scene.counts()[thing.shape] > 1
    name = f"are the {words.plural(thing.shape)}" if several else f"is the {thing.shape}"
    text = f"What color {name}?"
    if rng.random() < 0.6:
        return Question(text, thing.colour, "colour")
    allowed = tuple(c for c in words.COLOURS if not in_spec(Spec((Mention(thing.shape, c),))))
    listed, letter = _choices(rng, thing.colour, allowed)
    return Question(f"{text} {listed}", letter, "multiple_choice")


def shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What shape is the red object?"""
    things = _unique(scene, "colour")
    if not things:
        return None
    thing = pick(rng, things)
    text = f"What shape is the {thing.colour} object?"
    if rng.random() < 0.7:
        return Question(text, thing.shape, "shape")
    allowed = tuple(s for s in words.SHAPES if not in_spec(Spec((Mention(s, thing.colour),))))
    listed, letter = _choices(rng, thing.shape, allowed)
    return Question(f"{text} {listed}", letter, "multiple_choice")


def position(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Is the star left of the circle? or: Where is the star relative to the circle?"""
    things = _unique(scene, "shape")
    if len(things) < 2:
        return None
    first, second = (things[i] for i in rng.permutation(len(things))[:2])
    true = [relation for relation in words.RELATIONS if related(relation, first, second)]
    if not true:
        return None
    if rng.random() < 0.5:
        return Question(f"Where is the {first.shape} relative to the {second.shape}?", true[0], "position")
    asked = true[0] if rng.random() < 0.5 else pick(rng, words.RELATIONS)
    return Question(f"Is the {first.shape} {asked} the {second.shape}?", _yes(asked == true[0]), "position")


def comparison(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Which is larger? or: Are there more stars than circles?"""
    counts = scene.counts()
    if len(counts) < 2:
        return None
    first, second = (tuple(counts)[i] for i in rng.permutation(len(counts))[:2])
    if counts[first] > 1 or counts[second] > 1:
        text = f"Are there more {words.plural(first)} than {words.plural(second)}?"
        return Question(text, _yes(counts[first] > counts[second]), "comparison")
    size = {thing.shape: thing.size for thing in scene.things}
    if size[first] == size[second]:
        return Question(f"Are the {first} and the {second} the same size?", "yes", "comparison")
    if rng.random() < 0.7:
        return Question(f"Are the {first} and the {second} the same size?", "no", "comparison")
    larger = first if size[first] == "large" else second
    return Question(f"Which is larger, the {first} or the {second}?", larger, "comparison")


def reading(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What word is written? or: Is there a word?"""
    if scene.writing is None:
        return Question("Is there a word in the image?", "no", "reading") if rng.random() < 0.1 else None
    if rng.random() < 0.3:
        return Question("Is there a word in the image?", "yes", "reading")
    return Question("What word is written?", scene.writing.text, "reading")


def backdrop(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What is the background?"""
    return Question("What is the background?", scene.background, "background")


def _altered(spec: Spec, rng: np.random.Generator) -> Spec:
    """Change one detail of a claim: a colour, a shape, a count, the relation, or who has which colour."""
    at = int(rng.integers(len(spec.mentions)))
    mention = spec.mentions[at]
    kind = int(rng.integers(5))
    if kind == 0 and spec.relation is not None:
        return replace(spec, relation=pick(rng, words.RELATIONS))
    if kind == 1 and len(spec.mentions) == 2:
        first, second = spec.mentions
        swapped = (replace(first, colour=second.colour), replace(second, colour=first.colour))
        return replace(spec, mentions=swapped)
    if kind == 2 and mention.colour is not None:
        mention = replace(mention, colour=_colour(rng))
    elif kind == 3:
        number = int(rng.integers(1, 5))
        mention = replace(mention, count=number, exact=number > 1)
    else:
        mention = replace(mention, shape=pick(rng, words.SHAPES))
    return replace(spec, mentions=(*spec.mentions[:at], mention, *spec.mentions[at + 1 :]))


def claim(scene: Scene, rng: np.random.Generator, truth: bool) -> Spec | None:
    """Return a claim about the scene that is true, or false by one or two details; None if none was found."""
    spec = describe(scene, rng, pick(rng, (0.0, 0.5, 0.75)))
    if not spec.mentions:
        return None
    if spec.relation is None and rng.random() < 0.5:  # who asks need not know where things stand
        spec = replace(spec, mentions=spec.mentions[::-1])
    if len(spec.mentions) == 2 and rng.random() < 0.2:
        spec = replace(spec, mentions=(pick(rng, spec.mentions),), relation=None)
    for _ in range(8):
        candidate = spec if truth else _altered(spec, rng)
        if not truth and rng.random() < 0.3:
            candidate = _altered(candidate, rng)
        if holds(candidate, scene) == truth and not in_spec(candidate):
            return candidate
    return None


def alignment(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The verifier's question; half the claims are false."""
    truth = bool(rng.random() < 0.5)
    spec = claim(scene, rng, truth)
    if spec is None:
        return None
    return Question(ALIGN.format(prompt=phrase(spec, rng)), _yes(truth), "alignment")


def description(scene: Scene, rng: np.random.Generator) -> Question:
    """Ask for a caption; the answer is the densest, so that it can be checked exactly."""
    return Question(DESCRIBE, phrase(describe(scene, rng, 1.0), rng), "caption")


KINDS: tuple[Callable[[Scene, np.random.Generator], Question | None], ...] = (
    existence, count, colour, shape, position, comparison, reading, backdrop,
)  # fmt: skip


def ask(scene: Scene, rng: np.random.Generator) -> Question:
    """Return a random question other than alignment or description."""
    while (question := pick(rng, KINDS)(scene, rng)) is None:
        pass
    return question


__all__ = ["ALIGN", "DESCRIBE", "Question", "alignment", "ask", "caption", "claim", "description"]
