"""Conversations about the world's scenes: what the joint and the instruct stages read.

Each kind of talk turns two scenes into one row. Pictures stand in it as `Image` parts without content;
`pictures` says whose latents belong there, so that the caller can fetch them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unimm.parts import Image, Text, Turn
from unimm.text.chat import GENERATE_TEMPLATE
from unimm.world.language import caption, phrase, pick
from unimm.world.questions import Question, alignment, ask, description
from unimm.world.scene import Scene
from unimm.world.spec import Mention, Spec

SEEN, DRAWN = Image(), Image(target=True)
_REQUESTS = (GENERATE_TEMPLATE, GENERATE_TEMPLATE, GENERATE_TEMPLATE, "Draw {prompt}", "Now draw {prompt}")
_ALIGNMENT, _DESCRIPTION = 0.35, 0.25  # shares of the questions; the rest is every other kind


@dataclass(frozen=True)
class Talk:
    """One row: its turns, and for each picture in reading order which scene it shows (0 the row's own, 1
    another)."""

    turns: tuple[Turn, ...]
    pictures: tuple[int, ...]


def _turn(role: str, *parts: str | Image) -> Turn:
    return Turn(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def _exchange(question: str, answer: str, *shown: Image) -> tuple[Turn, Turn]:
    return _turn("user", *shown, question), _turn("assistant", answer)


def _drawing(scene: Scene, picture: Image, rng: np.random.Generator) -> tuple[Turn, Turn]:
    request = pick(rng, _REQUESTS).format(prompt=caption(scene, rng))
    return _turn("user", request), _turn("assistant", picture)


def _question(scene: Scene, rng: np.random.Generator) -> Question:
    sort = rng.random()
    if sort < _ALIGNMENT:
        return alignment(scene, rng) or ask(scene, rng)
    return description(scene, rng) if sort < _ALIGNMENT + _DESCRIPTION else ask(scene, rng)


def draw(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """A request for a picture, and the picture to be drawn."""
    return Talk(_drawing(scene, DRAWN, rng), (0,))


def look(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """A picture, a question about it, and the answer."""
    question = _question(scene, rng)
    return Talk(_exchange(question.text, question.answer, SEEN), (0,))


def chat(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """A picture drawn on request or shown, then two questions about it."""
    first, second = ask(scene, rng), _question(scene, rng)
    if rng.random() < 0.5:
        opening = (*_drawing(scene, SEEN, rng), *_exchange(first.text, first.answer))
    else:
        opening = _exchange(first.text, first.answer, SEEN)
    return Talk((*opening, *_exchange(second.text, second.answer)), (0,))


def redraw(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """A picture drawn on request, a question about it, then a request for another picture."""
    question = ask(other, rng)
    before = (*_drawing(other, SEEN, rng), *_exchange(question.text, question.answer))
    return Talk((*before, *_drawing(scene, DRAWN, rng)), (1, 0))


def revisit(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """Two pictures drawn on request, a question about each while it is the latest."""
    before, after = ask(other, rng), _question(scene, rng)
    first = (*_drawing(other, SEEN, rng), *_exchange(before.text, before.answer))
    return Talk((*first, *_drawing(scene, SEEN, rng), *_exchange(after.text, after.answer)), (1, 0))


def attribute(scene: Scene, other: Scene, rng: np.random.Generator) -> Talk:
    """A request that names each thing of a scene by colour and shape, in reading order, and the picture."""
    things = sorted(scene.things, key=lambda thing: thing.x + thing.y)
    claim = Spec(tuple(Mention(thing.shape, thing.colour) for thing in things))
    request = pick(rng, _REQUESTS).format(prompt=phrase(claim, rng))
    return Talk((_turn("user", request), _turn("assistant", DRAWN)), (0,))


TALKS: dict[str, Callable[[Scene, Scene, np.random.Generator], Talk]] = {
    "draw": draw,
    "look": look,
    "chat": chat,
    "redraw": redraw,
    "revisit": revisit,
    "attribute": attribute,
}
