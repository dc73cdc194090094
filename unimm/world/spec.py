"""What a sentence claims of a picture, apart from its wording: GenEval's six task families as data.

A `Spec` is drawn either from a scene (then it is a caption, true by construction) or from nothing (then it is
a prompt). `holds` applies GenEval's rules to a scene, real or read back from pixels: every mention must be
found, a counting prompt wants the exact number, a position prompt wants the relation between the two things.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimm.world.scene import Scene, Thing

FAMILIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr")

# A relation holds when the centres differ along its axis by at least this fraction of the side, and by more
# along that axis than along the other. Anchors lie 0.46 apart; chance placement beside one another stays
# below.
_RELATION_MARGIN = 0.10


@dataclass(frozen=True)
class Mention:
    """Some things of one kind. `None` leaves an attribute open; `exact` asks for that number and no other."""

    shape: str
    colour: str | None = None
    size: str | None = None
    count: int = 1
    exact: bool = False


@dataclass(frozen=True)
class Spec:
    """A claim: one or two mentions, a relation of the first to the second, a background, a word."""

    mentions: tuple[Mention, ...] = ()
    relation: str | None = None
    background: str | None = None
    word: str | None = None
    word_colour: str | None = None
    family: str | None = None


def _matches(mention: Mention, thing: Thing) -> bool:
    return (
        thing.shape == mention.shape
        and mention.colour in (None, thing.colour)
        and mention.size in (None, thing.size)
    )


def found(mention: Mention, scene: Scene) -> list[Thing]:
    """Return the things in the scene that a mention speaks of."""
    return [thing for thing in scene.things if _matches(mention, thing)]


def related(relation: str, first: Thing, second: Thing) -> bool:
    """Whether `first` stands in the relation to `second`."""
    dx, dy = first.x - second.x, first.y - second.y
    along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
    sign = -1 if relation in ("left of", "above") else 1
    return sign * along > _RELATION_MARGIN and abs(along) > abs(across)


def holds(spec: Spec, scene: Scene) -> bool:
    """Whether everything the spec claims is true of the scene."""
    for mention in spec.mentions:
        number = len(found(mention, scene))
        if number < mention.count or (mention.exact and number != mention.count):
            return False
    if spec.relation is not None:
        first, second = (found(mention, scene) for mention in spec.mentions)
        if not any(related(spec.relation, a, b) for a in first for b in second):
            return False
    if spec.background is not None and spec.background != scene.background:
        return False
    if spec.word is None:
        return True
    writing = scene.writing
    return writing is not None and writing.text == spec.word and spec.word_colour in (None, writing.colour)
