"""No stream ever shows or mentions a held-out combination, and every family has prompts that need one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from unimm.world import held_out as module
from unimm.world import vocabulary as words
from unimm.world.grammar import parse
from unimm.world.held_out import held_out, in_scene, in_spec, sample_allowed
from unimm.world.language import caption
from unimm.world.questions import ALIGN, DESCRIBE, alignment, ask, description
from unimm.world.scene import sample_scene

SCENES = 20_000
PREFIX, SUFFIX = ALIGN.split("{prompt}")


@pytest.fixture(scope="module")
def stream():
    """Scenes of the training stream, with a caption, a question, a claim and a description of each."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(SCENES):
        scene = sample_allowed(rng)
        asked = [ask(scene, rng), alignment(scene, rng), description(scene, rng)]
        rows.append((scene, caption(scene, rng), [question for question in asked if question]))
    return rows


def shown(scene) -> set[tuple[str, tuple]]:
    """What a scene shows, found without the module under test."""
    shapes = sorted({thing.shape for thing in scene.things})
    numbers = {shape: sum(thing.shape == shape for thing in scene.things) for shape in shapes}
    return {
        *(("shape_colour", (thing.shape, thing.colour)) for thing in scene.things),
        *(("shape_shape", pair) for pair in combinations(shapes, 2)),
        *(("count_shape", (number, shape)) for shape, number in numbers.items()),
        *(("shape_background", (shape, scene.background)) for shape in shapes),
    }


FORBIDDEN = {(kind, entry) for kind in module.KINDS for entry in held_out()[kind]}


def test_the_list_names_real_combinations_and_spares_enough_to_learn_from():
    shapes, colours, backgrounds = set(words.SHAPES), set(words.COLOURS), set(words.BACKGROUNDS)
    assert all(s in shapes and c in colours for s, c in held_out()["shape_colour"])
    assert all(a in shapes and b in shapes and a < b for a, b in held_out()["shape_shape"])
    assert all(n in (2, 3, 4) and s in shapes for n, s in held_out()["count_shape"])
    assert all(s in shapes and b in backgrounds for s, b in held_out()["shape_background"])
    for kind, whole in (
        ("shape_colour", 80),
        ("shape_shape", 28),
        ("count_shape", 24),
        ("shape_background", 40),
    ):
        assert 4 <= len(held_out()[kind]) <= whole / 4


def test_no_scene_of_the_stream_shows_one(stream):
    assert not [scene for scene, _, _ in stream if shown(scene) & FORBIDDEN]


def test_the_whole_world_would_show_them_all():
    rng = np.random.default_rng(1)
    seen = set().union(*(shown(sample_scene(rng)) for _ in range(SCENES)))
    assert seen >= FORBIDDEN
    everything = {("shape_colour", (s, c)) for s in words.SHAPES for c in words.COLOURS}
    assert everything <= seen


def test_the_stream_shows_every_combination_that_is_allowed(stream):
    seen = set().union(*(shown(scene) for scene, _, _ in stream))
    allowed = {("shape_colour", (s, c)) for s in words.SHAPES for c in words.COLOURS}
    allowed |= {("shape_shape", pair) for pair in combinations(sorted(words.SHAPES), 2)}
    allowed |= {("count_shape", (n, s)) for n in (1, 2, 3, 4) for s in words.SHAPES}
    assert allowed - FORBIDDEN <= seen


def test_no_caption_description_or_claim_mentions_one(stream):
    for _, told, asked in stream:
        texts = [told]
        texts += [q.text.removeprefix(PREFIX).removesuffix(SUFFIX) for q in asked if q.kind == "alignment"]
        texts += [question.answer for question in asked if question.text == DESCRIBE]
        for text in texts:
            spec = parse(text)
            assert spec is not None, text
            assert not in_spec(spec), text


def test_no_question_puts_a_held_out_colour_to_a_shape(stream):
    pairs = {entry for kind, entry in FORBIDDEN if kind == "shape_colour"}
    for _, _, asked in stream:
        for question in asked:
            if question.kind in ("existence", "colour", "multiple_choice"):
                said = f"{question.text} {question.answer}".replace("?", "").replace(".", "").split()
                shapes = {s for s in words.SHAPES if s in said or words.plural(s) in said}
                colours = set(words.COLOURS) & set(said)
                assert not {(s, c) for s in shapes for c in colours} & pairs, question


def test_scenes_and_claims_are_searched_alike():
    rng = np.random.default_rng(2)
    for _ in range(3000):
        scene = sample_scene(rng)
        assert in_scene(scene) == shown(scene) & FORBIDDEN
