"""Captions are true, from terse to dense, and good English."""

from __future__ import annotations

import re

import numpy as np

from unimm.world import vocabulary as words
from unimm.world.language import caption, describe, phrase
from unimm.world.scene import Scene, Thing, sample_scene
from unimm.world.spec import Mention, Spec, holds


def scenes(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [sample_scene(rng) for _ in range(count)], rng


def test_every_caption_is_true():
    drawn, rng = scenes(3000)
    for scene in drawn:
        for density in (0.0, 0.5, 1.0):
            assert holds(describe(scene, rng, density), scene)


def test_the_densest_caption_tells_everything_and_the_tersest_only_what_is_there():
    drawn, rng = scenes(500)
    for scene in drawn:
        dense, terse = describe(scene, rng, 1.0), describe(scene, rng, 0.0)
        assert dense.background == scene.background
        assert sum(mention.count for mention in dense.mentions) == len(scene.things)
        assert all(mention.colour for mention in dense.mentions)
        assert terse.background is None
        assert terse.relation is None
        assert not any(mention.colour or mention.size for mention in terse.mentions)
        assert len(phrase(terse, rng)) < len(phrase(dense, rng)) + len("a drawing of ")


def test_articles_and_plurals_are_right():
    drawn, rng = scenes(2000, 1)
    for scene in drawn:
        text = caption(scene, rng)
        assert not re.search(r"\ba [aeiou]", text), text
        assert not re.search(r"\ban [^aeiou]", text), text
        for noun in re.split(" and | on | left | right | to | above | below | over | under ", text):
            if found := re.search(r"\b(one|two|three|four) .*?([a-z]+)$", noun):
                assert found[2] in map(words.plural, words.SHAPES), text
        assert "  " not in text
        assert text == text.strip()


def test_a_known_claim_is_worded_as_expected():
    spec = Spec(
        (Mention("star", "orange", "small"), Mention("cross", "red", count=2, exact=True)), background="sky"
    )
    texts = {phrase(spec, np.random.default_rng(seed)) for seed in range(40)}
    said = "a small orange star and two red crosses on a sky background"
    assert texts == {opening + said for opening in ("", "a photo of ", "a picture of ", "a drawing of ")}


def test_a_relation_is_told_in_either_order():
    scene = Scene("mint", (Thing("star", "red", 0.27, 0.5, 0.13), Thing("moon", "blue", 0.73, 0.5, 0.13)))
    rng = np.random.default_rng(0)
    texts = {phrase(describe(scene, rng, 1.0), rng) for _ in range(200)}
    assert any("star left of" in text for text in texts)
    assert any("moon to the right of" in text for text in texts)


def test_things_whose_relation_is_not_told_are_named_in_reading_order():
    drawn, rng = scenes(2000, 2)
    pairs = [scene for scene in drawn if len(scene.things) == 2 and len(scene.counts()) == 2]
    for scene in pairs:
        first, second = scene.things  # layouts list their places in reading order
        for density in (0.0, 0.5):
            said = describe(scene, rng, density)
            if said.relation is None:
                assert [mention.shape for mention in said.mentions] == [first.shape, second.shape]
    assert len(pairs) > 100
