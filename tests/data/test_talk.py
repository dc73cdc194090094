"""The stream of talk never shows or mentions what is held out."""

import re

import numpy as np
import pytest

from unimm.data.talk import TALKS
from unimm.data.world import scene
from unimm.parts import Image, Text
from unimm.world.held_out import held_out, in_scene
from unimm.world.vocabulary import COLOURS, COUNT_WORDS, SHAPES, plural

_NAMES = {name: shape for shape in SHAPES for name in (shape, plural(shape))}
_NOUN = re.compile(rf"\b(?:({'|'.join(COLOURS)}) )?({'|'.join(sorted(_NAMES, key=len, reverse=True))})\b")
_ATTRIBUTES = "|".join(("small", "large", *COLOURS))
_COUNTED = re.compile(rf"\b({'|'.join(COUNT_WORDS.values())}) (?:(?:{_ATTRIBUTES}) )*(\w+)")


def forbidden(text: str) -> list[tuple]:
    numbers = {word: count for count, word in COUNT_WORDS.items()}
    coloured = [(_NAMES[noun], colour) for colour, noun in _NOUN.findall(text) if colour]
    counted = [(numbers[word], _NAMES[noun]) for word, noun in _COUNTED.findall(text) if noun in _NAMES]
    return [c for c in coloured if c in held_out()["shape_colour"]] + [
        c for c in counted if c in held_out()["count_shape"]
    ]


def test_the_check_itself_finds_what_is_held_out():
    assert forbidden("a photo of a small green circle")
    assert forbidden("four large red stars")
    assert not forbidden("a red circle and two stars")


@pytest.mark.parametrize("kind", TALKS)
def test_no_row_of_the_stream_mentions_a_held_out_combination(kind):
    rng = np.random.default_rng(0)
    for index in range(400):
        shown, other = scene(1, index), scene(1, index + 1)
        assert not in_scene(shown)
        for turn in TALKS[kind](shown, other, rng).turns:
            for part in turn.parts:
                if isinstance(part, Text):
                    assert not forbidden(part.text), part.text


@pytest.mark.parametrize("kind", TALKS)
def test_every_picture_of_a_row_has_its_scene(kind):
    talk = TALKS[kind](scene(1, 0), scene(1, 1), np.random.default_rng(0))
    pictures = [part for turn in talk.turns for part in turn.parts if isinstance(part, Image)]
    assert len(pictures) == len(talk.pictures)
    assert [turn.role for turn in talk.turns] == ["user", "assistant"] * (len(talk.turns) // 2)
