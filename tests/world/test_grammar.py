"""What the world says can be taken apart again, and captions are judged by what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unimm.world.grammar import parse, tells_all
from unimm.world.language import describe, phrase
from unimm.world.prompts import prompts
from unimm.world.scene import Scene, Thing, Writing, sample_scene

STAR, MOON = Thing("star", "red", 0.27, 0.5, 0.13), Thing("moon", "orange", 0.73, 0.5, 0.19)
SCENE = Scene("mint", (STAR, MOON))


def test_every_caption_is_taken_apart_into_what_it_was_made_of():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        spec = describe(sample_scene(rng), rng, rng.choice([0.0, 0.5, 1.0]))
        text = phrase(spec, rng)
        assert parse(text) == spec, text


@pytest.mark.parametrize("split", ["held_in", "held_out"])
def test_every_prompt_is_taken_apart(split):
    for prompt in prompts(split, 50):
        assert parse(prompt.text) == replace(prompt.spec, family=None), prompt.text


@pytest.mark.parametrize(
    "text",
    ["", "yes", "a red", "red star", "two red star", "a red stars", "a star and", "a star left of",
     "the word", "a star and a moon and a heart", "a star on a red background", "a a star", "a photo of"],
)  # fmt: skip
def test_what_is_no_sentence_of_the_world_is_refused(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a red star and an orange moon", True),
        ("An orange moon and a red star.", True),
        ("a picture of a small red star left of a large orange moon on a mint background", True),
        ("a red star", False),
        ("a star and a moon", False),
        ("a red star and a pink moon", False),
        ("a red star right of an orange moon", False),
        ("a large red star and an orange moon", False),
        ("a red star and an orange moon on a sky background", False),
        ("two red stars and an orange moon", False),
        ("a red star and a red star", False),
        ('the word "hi" and a red star', False),
    ],
)
def test_a_caption_must_be_true_and_whole(text, right):
    assert tells_all(text, SCENE) is right


def test_a_word_must_be_told():
    scene = Scene("mint", (STAR,), Writing("hi", "blue", 0.5, 0.27))
    assert tells_all('the blue word "hi" and a red star', scene)
    assert tells_all('the word "hi" and a red star', scene)
    assert not tells_all("a red star", scene)
    assert not tells_all('the word "no" and a red star', scene)
    assert tells_all('the word "hi"', replace(scene, things=()))
