"""A scene: what is in a picture, exactly; and the drawing of scenes at random."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from unimm.world import vocabulary as words


@dataclass(frozen=True)
class Thing:
    """One coloured shape. Centre and radius are fractions of the picture's side; y grows downwards."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def size(self) -> str:
        """The size's name; the boundary lies halfway between the two ranges of `SIZES`."""
        boundary = (words.SIZES["small"][1] + words.SIZES["large"][0]) / 2
        return "small" if self.radius < boundary else "large"


@dataclass(frozen=True)
class Writing:
    """A short word written in the picture, in one colour, centred at (x, y)."""

    text: str
    colour: str
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """Everything that is in one picture."""

    background: str
    things: tuple[Thing, ...] = ()
    writing: Writing | None = None

    def counts(self) -> Counter[str]:
        """Return how many things of each shape there are."""
        return Counter(thing.shape for thing in self.things)


# Where the centres of 1, 2, 3 and 4 things may stand, in reading order, and how far each may stray from
# there. Positions are anchored so that sizes never overlap: 0.46 apart, less twice the jitter, leaves the
# largest pair room.
_NEAR, _MIDDLE, _FAR = 0.27, 0.50, 0.73
ROW = ((_NEAR, _MIDDLE), (_FAR, _MIDDLE))
COLUMN = ((_MIDDLE, _NEAR), (_MIDDLE, _FAR))
LAYOUTS = {
    1: (((_MIDDLE, _MIDDLE),),),
    2: (ROW, COLUMN),
    3: (
        ((_MIDDLE, _NEAR), (_NEAR, _FAR), (_FAR, _FAR)),
        ((_NEAR, _NEAR), (_FAR, _NEAR), (_MIDDLE, _FAR)),
    ),
    4: (((_NEAR, _NEAR), (_FAR, _NEAR), (_NEAR, _FAR), (_FAR, _FAR)),),
}
JITTER = {1: 0.08, 2: 0.03, 3: 0.03, 4: 0.03}
# Two of a kind beside (or over) one of another: the pair's two places, then the single's.
GROUP_LAYOUTS = (
    ((_NEAR, _NEAR), (_NEAR, _FAR), (_FAR, _MIDDLE)),
    ((_FAR, _NEAR), (_FAR, _FAR), (_NEAR, _MIDDLE)),
    ((_NEAR, _NEAR), (_FAR, _NEAR), (_MIDDLE, _FAR)),
    ((_NEAR, _FAR), (_FAR, _FAR), (_MIDDLE, _NEAR)),
)


def _place(anchors, kinds, rng: np.random.Generator) -> tuple[Thing, ...]:
    """Put things (shape, colour, size) at their anchors, each strayed a little."""
    stray = JITTER[len(anchors)]
    things = []
    for (x, y), (shape, colour, size) in zip(anchors, kinds, strict=True):
        dx, dy = rng.uniform(-stray, stray, 2)
        things.append(Thing(shape, colour, x + dx, y + dy, rng.uniform(*words.SIZES[size])))
    return tuple(things)


def _choice(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _shapes(rng: np.random.Generator, count: int) -> list[str]:
    return [words.SHAPES[i] for i in rng.permutation(len(words.SHAPES))[:count]]


def _colour(rng: np.random.Generator) -> str:
    return _choice(rng, tuple(words.COLOURS))


def _size(rng: np.random.Generator) -> str:
    return _choice(rng, tuple(words.SIZES))


def single(rng: np.random.Generator) -> Scene:
    """One thing near the middle."""
    kind = (_shapes(rng, 1)[0], _colour(rng), _size(rng))
    return Scene(_background(rng), _place(LAYOUTS[1][0], [kind], rng))


def pair(rng: np.random.Generator) -> Scene:
    """Two things of different shapes, side by side or one over the other."""
    kinds = [(shape, _colour(rng), _size(rng)) for shape in _shapes(rng, 2)]
    return Scene(_background(rng), _place(_choice(rng, LAYOUTS[2]), kinds, rng))


def same(rng: np.random.Generator) -> Scene:
    """Two to four things of one shape and one colour."""
    count = int(rng.integers(2, 5))
    kind = (_shapes(rng, 1)[0], _colour(rng), "small" if count > 2 else _size(rng))
    return Scene(_background(rng), _place(_choice(rng, LAYOUTS[count]), [kind] * count, rng))


def group(rng: np.random.Generator) -> Scene:
    """Two things of a kind beside, above or below one of another shape."""
    first, second = _shapes(rng, 2)
    many, one = (first, _colour(rng), "small"), (second, _colour(rng), "small")
    return Scene(_background(rng), _place(_choice(rng, GROUP_LAYOUTS), [many, many, one], rng))


def written(rng: np.random.Generator) -> Scene:
    """A word, alone or above one thing."""
    text, colour = _choice(rng, words.WORDS), _colour(rng)
    alone = rng.random() < 0.5
    x, y = rng.uniform(-0.03, 0.03, 2) + (0.5, 0.5 if alone else 0.27)
    things = () if alone else _place(((_MIDDLE, 0.70),), [(_shapes(rng, 1)[0], _colour(rng), "small")], rng)
    return Scene(_background(rng), things, Writing(text, colour, x, y))


def _background(rng: np.random.Generator) -> str:
    return _choice(rng, tuple(words.BACKGROUNDS))


# How often each sort of scene is drawn.
SORTS = {single: 0.24, pair: 0.38, same: 0.24, group: 0.06, written: 0.08}


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw any scene of the world, the held-out ones among them; streams use `held_out.sample_allowed`."""
    sort = rng.choice(len(SORTS), p=list(SORTS.values()))
    return tuple(SORTS)[sort](rng)
