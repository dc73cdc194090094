"""Claims hold exactly when GenEval's rules say so."""

from __future__ import annotations

import pytest

from unimm.world.scene import Scene, Thing, Writing
from unimm.world.spec import Mention, Spec, holds, related


def thing(shape="star", colour="red", x=0.5, y=0.5, radius=0.13) -> Thing:
    return Thing(shape, colour, x, y, radius)


THREE = Scene("mint", (thing(x=0.27), thing(x=0.73), thing("moon", "blue", y=0.73, radius=0.19)))


@pytest.mark.parametrize(
    ("mention", "right"),
    [
        (Mention("star"), True),
        (Mention("star", "red"), True),
        (Mention("star", "red", "small"), True),
        (Mention("star", "red", "large"), False),
        (Mention("star", "blue"), False),
        (Mention("moon", "blue", "large"), True),
        (Mention("heart"), False),
        (Mention("star", count=2), True),
        (Mention("star", count=2, exact=True), True),
        (Mention("star", count=1, exact=True), False),
        (Mention("star", count=3), False),
        (Mention("moon", count=2, exact=True), False),
    ],
)
def test_a_mention_must_be_found_in_its_number(mention, right):
    assert holds(Spec((mention,)), THREE) is right


def test_colours_belong_to_their_shapes():
    assert holds(Spec((Mention("star", "red"), Mention("moon", "blue"))), THREE)
    assert not holds(Spec((Mention("star", "blue"), Mention("moon", "red"))), THREE)


@pytest.mark.parametrize(
    ("dx", "dy", "true"),
    [(-0.4, 0, "left of"), (0.4, 0, "right of"), (0, -0.4, "above"), (0, 0.4, "below"), (0.05, 0.02, None),
     (0.3, 0.2, "right of"), (0.2, -0.3, "above"), (0.2, 0.2, None)],
)  # fmt: skip
def test_a_relation_wants_a_clear_offset_along_its_own_axis(dx, dy, true):
    found = [
        r
        for r in ("left of", "right of", "above", "below")
        if related(r, thing(x=0.5 + dx, y=0.5 + dy), thing())
    ]
    assert found == ([true] if true else [])


def test_a_relation_holds_from_the_first_mention_to_the_second():
    scene = Scene("sky", (thing("star", x=0.27), thing("moon", x=0.73)))
    star, moon = Mention("star"), Mention("moon")
    assert holds(Spec((star, moon), "left of"), scene)
    assert holds(Spec((moon, star), "right of"), scene)
    assert not holds(Spec((moon, star), "left of"), scene)
    assert not holds(Spec((star, moon), "above"), scene)
    assert not holds(Spec((star, Mention("heart")), "left of"), scene)


def test_background_and_word_must_agree():
    scene = Scene("sky", (thing(),), Writing("hi", "blue", 0.5, 0.27))
    star = (Mention("star"),)
    assert holds(Spec(star, background="sky", word="hi", word_colour="blue"), scene)
    assert not holds(Spec(star, background="mint"), scene)
    assert not holds(Spec(star, word="no"), scene)
    assert not holds(Spec(star, word="hi", word_colour="red"), scene)
    assert not holds(Spec(word="hi"), THREE)
