"""Questions about a scene of the built-in world, answered from the scene.

The forms, in which NOUN is one such as "a small red circle" or "two stars":

    Is there NOUN?  Are there NOUN?  Is the SHAPE COLOUR?  Is the SHAPE left of the SHAPE?
    Is the background BACKGROUND?  How many SHAPES are there?  Does this image align with the prompt: PROMPT?
"""

from __future__ import annotations

import re

from unimm.world import vocabulary as words
from unimm.world.grammar import parse
from unimm.world.scene import Scene
from unimm.world.spec import Mention, Spec, holds

UNREADABLE = "I cannot read the question."
"""The answer to a question of another form; no rule takes it for yes or no."""


def _any(options) -> str:
    return "|".join(options)


_SHAPE = rf"({_any(words.SHAPES)})"
_PLURALS = {words.plural(shape): shape for shape in words.SHAPES}
_CLAIM = re.compile(r"(?:(?:is|are) there|does this image align with the prompt:) (.+)\?")
_COLOUR = re.compile(rf"(?:is|are) the ({_any((*words.SHAPES, *_PLURALS))}) ({_any(words.COLOURS)})\?")
_RELATION = re.compile(
    rf"is the {_SHAPE} ((?:to the )?(?:left|right) of|above|over|below|under) the {_SHAPE}\?"
)
_BACKGROUND = re.compile(rf"is the background ({_any(words.BACKGROUNDS)})\?")
_COUNT = re.compile(rf"how many ({_any(_PLURALS)}) are there\?")


def answer(scene: Scene, question: str) -> str:
    """Return "yes" or "no", a number in digits, or `UNREADABLE`."""
    text = question.strip().lower()
    if found := _COUNT.fullmatch(text):
        return str(scene.counts()[_PLURALS[found[1]]])
    claim = _claim(text)
    return UNREADABLE if claim is None else ("yes" if holds(claim, scene) else "no")


def _claim(text: str) -> Spec | None:
    """Return what a question wants to know the truth of."""
    if found := _COLOUR.fullmatch(text):
        return Spec((Mention(_PLURALS.get(found[1], found[1]), found[2]),))
    if found := _RELATION.fullmatch(text):
        return parse(f"a {found[1]} {found[2]} a {found[3]}")
    if found := _BACKGROUND.fullmatch(text):
        return Spec(background=found[1])
    found = _CLAIM.fullmatch(text)
    return parse(found[1]) if found else None
