"""Questions about scenes of the built-in world in the forms of benchmarks, with exact answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.held_out import in_scene, in_spec, sample_allowed
from unimm.world.language import noun, phrase, pick
from unimm.world.questions import ALIGN
from unimm.world.scene import Scene, Thing
from unimm.world.spec import Mention, Spec, holds, related


@dataclass(frozen=True)
class Choice:
    """A question with options, one of them right."""

    text: str
    options: tuple[str, ...]
    right: int
    category: str

    @property
    def letter(self) -> str:
        """The right option's."""
        return "ABCD"[self.right]

    def rotated(self, steps: int) -> Choice:
        """Return the same question with its options moved on, the last ones to the front."""
        n = len(self.options)
        options = tuple(self.options[(at - steps) % n] for at in range(n))
        return Choice(self.text, options, (self.right + steps) % n, self.category)


def _lone(scene: Scene, attribute: str) -> list[Thing]:
    values = [getattr(thing, attribute) for thing in scene.things]
    return [thing for thing in scene.things if values.count(getattr(thing, attribute)) == 1]


def _allowed(mention: Mention) -> bool:
    return not in_spec(Spec((mention,)))


def _pair_of_existence(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    thing = pick(rng, scene.things)
    absent = [shape for shape in words.SHAPES if not scene.counts()[shape]]
    return _is_there(Mention(thing.shape)), _is_there(Mention(pick(rng, absent)))


def _pair_of_colour(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    thing = pick(rng, scene.things)
    others = [
        mention
        for colour in words.COLOURS
        if _allowed(mention := Mention(thing.shape, colour)) and not holds(Spec((mention,)), scene)
    ]
    return _is_there(Mention(thing.shape, thing.colour)), _is_there(pick(rng, others))


def _pair_of_count(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    shape = pick(rng, scene.things).shape
    claims = [Mention(shape, count=number, exact=True) for number in range(2, 5)]
    true = [claim for claim in claims if scene.counts()[shape] == claim.count]
    false = [claim for claim in claims if claim not in true and _allowed(claim)]
    if not true or not false:
        return None
    pair = true[0], pick(rng, false)
    yes, no = (ALIGN.format(prompt=phrase(Spec((claim,)), rng)) for claim in pair)
    return yes, no


def _pair_of_position(scene: Scene, rng: np.random.Generator) -> tuple[str, str] | None:
    things = _lone(scene, "shape")
    if len(things) < 2:
        return None
    first, second = (things[at] for at in rng.permutation(len(things))[:2])
    true = [relation for relation in words.RELATIONS if related(relation, first, second)]
    if not true:
        return None
    yes, no = (
        f"Is the {first.shape} {relation} the {second.shape}?"
        for relation in (true[0], words.OPPOSITE[true[0]])
    )
    return yes, no


def _is_there(mention: Mention) -> str:
    return f"Is there {noun(mention)}?"


PAIRS: dict[str, Callable[[Scene, np.random.Generator], tuple[str, str] | None]] = {
    "existence": _pair_of_existence,
    "count": _pair_of_count,
    "position": _pair_of_position,
    "color": _pair_of_colour,
}
"""By subtask of MME: a question whose answer is yes, and one whose answer is no."""


def yes_no_pair(rng: np.random.Generator, category: str) -> tuple[Scene, str, str]:
    """Return a scene, a question about it that is answered yes, and one that is answered no."""
    while True:
        scene = sample_allowed(rng)
        pair = PAIRS[category](scene, rng) if scene.things else None
        if pair is not None:
            return scene, *pair


def choice(rng: np.random.Generator) -> tuple[Scene, Choice]:
    """Return a scene and a choice among colours, or among shapes."""
    while True:
        scene = sample_allowed(rng)
        asks_colour = rng.random() < 0.5
        things = _lone(scene, "shape" if asks_colour else "colour")
        if not things:
            continue
        thing = pick(rng, things)
        if asks_colour:
            return scene, _options(
                rng, f"What color is the {thing.shape}?", thing.colour, words.COLOURS, "color"
            )
        return scene, _options(
            rng, f"What shape is the {thing.colour} object?", thing.shape, words.SHAPES, "shape"
        )


def _options(rng: np.random.Generator, text: str, answer: str, every: Sequence[str], category: str) -> Choice:
    wrong = [value for value in every if value != answer]
    options = [answer, *(wrong[at] for at in rng.permutation(len(wrong))[:3])]
    order = rng.permutation(len(options))
    return Choice(text, tuple(options[at] for at in order), int(np.argmin(order)), category)


def short(rng: np.random.Generator) -> tuple[Scene, str, str, str]:
    """Return a scene, a question, its short answer and the answer's type as VQAv2 has it."""
    while True:
        scene = sample_allowed(rng)
        if not scene.things:
            continue
        if rng.random() < 0.5:
            shape = pick(rng, scene.things).shape
            return scene, f"How many {words.plural(shape)} are there?", str(scene.counts()[shape]), "number"
        things = _lone(scene, "shape")
        if things:
            thing = pick(rng, things)
            return scene, f"What color is the {thing.shape}?", thing.colour, "other"


def two_looks(rng: np.random.Generator) -> tuple[Scene, Scene]:
    """Return two scenes that differ in nothing but the colour of their one thing."""
    while True:
        shape, background = pick(rng, words.SHAPES), pick(rng, tuple(words.BACKGROUNDS))
        colours = list(words.COLOURS)
        first, second = (
            Scene(background, (Thing(shape, colours[at], 0.5, 0.5, 0.19),))
            for at in rng.permutation(len(colours))[:2]
        )
        if not in_scene(first) and not in_scene(second):
            return first, second


def annotators(answer: str, rng: np.random.Generator) -> list[str]:
    """Return ten answers: most as they should be, some written otherwise, at times a wrong one."""
    spelt = {str(number): word for number, word in words.COUNT_WORDS.items()}
    others = (answer.capitalize(), f"{answer}.", spelt.get(answer, f"the {answer}"), "unsure")
    return [answer if rng.random() < 0.8 else pick(rng, others) for _ in range(10)]
