"""The reader returns what was drawn, on clean and on degraded pictures, and makes nothing up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from unimm.world import scene as scenes
from unimm.world.language import describe
from unimm.world.outlines import components
from unimm.world.prompts import prompts
from unimm.world.reader import read
from unimm.world.render import render
from unimm.world.scene import Scene, Thing
from unimm.world.spec import FAMILIES, holds
from unimm.world.staging import scene_for

_PER_SORT = 100


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    rng = np.random.default_rng(11)
    return [sort(rng) for sort in scenes.SORTS for _ in range(_PER_SORT)]


@pytest.fixture(scope="module")
def read_back(drawn) -> list[Scene]:
    return [read(render(scene, 80)) for scene in drawn]


def content(scene: Scene):
    """What a scene shows, without exact places."""
    writing = scene.writing and (scene.writing.text, scene.writing.colour)
    return Counter((t.shape, t.colour, t.size) for t in scene.things), scene.background, writing


def degraded(picture: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Blur as a small decoder does, and add noise: about 27 dB."""
    soft = np.asarray(
        Image.fromarray(picture).filter(ImageFilter.GaussianBlur(len(picture) / 80)), np.float32
    )
    return Image.fromarray(np.clip(soft + rng.normal(0, 10, soft.shape), 0, 255).astype(np.uint8))


def test_everything_is_read_back_exactly(drawn, read_back):
    right = [content(true) == content(got) for true, got in zip(drawn, read_back, strict=True)]
    assert np.mean(right) >= 0.99


def test_places_and_radii_are_read_to_half_a_pixel(drawn, read_back):
    for true, got in zip(drawn, read_back, strict=True):
        if len(true.things) == len(got.things) == 1:
            a, b = true.things[0], got.things[0]
            assert max(abs(a.x - b.x), abs(a.y - b.y), abs(a.radius - b.radius)) < 0.5 / 80


def test_pictures_of_twice_the_size_are_read_as_well(drawn):
    right = [content(scene) == content(read(render(scene, 160))) for scene in drawn[::3]]
    assert np.mean(right) >= 0.99


def test_soft_and_noisy_pictures_are_read(drawn):
    rng = np.random.default_rng(0)
    right = [content(scene) == content(read(degraded(render(scene, 80), rng))) for scene in drawn[::2]]
    assert np.mean(right) >= 0.97


def test_true_captions_hold_and_shuffled_ones_hold_as_often_as_chance_allows(drawn, read_back):
    rng = np.random.default_rng(1)
    claims = [describe(scene, rng, 0.75) for scene in drawn]
    assert np.mean([holds(claim, got) for claim, got in zip(claims, read_back, strict=True)]) >= 0.99
    order = rng.permutation(len(drawn))
    chance = np.mean([holds(claims[i], drawn[j]) for i, j in enumerate(order)])
    shuffled = np.mean([holds(claims[i], read_back[j]) for i, j in enumerate(order)])
    assert shuffled < 0.10
    assert abs(shuffled - chance) < 0.01


@pytest.mark.parametrize("split", ["held_in", "held_out"])
def test_a_picture_that_obeys_its_prompt_is_judged_right_in_every_family(split):
    rng = np.random.default_rng(2)
    asked = prompts(split, 40)
    shown = [scene_for(p.spec, rng) for p in asked]
    read_scenes = [read(degraded(render(scene, 80), rng)) for scene in shown]
    for family in FAMILIES:
        mine = [i for i, p in enumerate(asked) if p.spec.family == family]
        assert np.mean([holds(asked[i].spec, read_scenes[i]) for i in mine]) >= 0.97, family
        others = [(a, b) for a in mine for b in mine if a != b]
        chance = np.mean([holds(asked[a].spec, shown[b]) for a, b in others])
        assert abs(np.mean([holds(asked[a].spec, read_scenes[b]) for a, b in others]) - chance) < 0.02, family


@pytest.mark.parametrize("planted", ["colour", "shape", "missing", "extra", "background"])
def test_a_planted_change_is_seen(planted):
    scene = Scene("mint", (Thing("star", "red", 0.27, 0.5, 0.13), Thing("moon", "blue", 0.73, 0.5, 0.19)))
    star, moon = scene.things
    changed = {
        "colour": replace(scene, things=(replace(star, colour="pink"), moon)),
        "shape": replace(scene, things=(star, replace(moon, shape="circle"))),
        "missing": replace(scene, things=(moon,)),
        "extra": replace(scene, things=(star, moon, Thing("heart", "red", 0.5, 0.15, 0.13))),
        "background": replace(scene, background="sky"),
    }[planted]
    assert content(read(render(scene, 80))) == content(scene)
    assert content(read(render(changed, 80))) == content(changed) != content(scene)


def test_nothing_is_read_into_an_empty_or_noisy_picture():
    rng = np.random.default_rng(3)
    for background in ("sand", "sky", "mint", "lilac", "slate"):
        empty = render(Scene(background), 80)
        assert read(empty) == Scene(background)
        assert read(degraded(empty, rng)) == Scene(background)
    noise = rng.integers(0, 256, (20, 80, 80, 3)).astype(np.uint8)
    assert sum(len(read(picture).things) for picture in noise) == 0


def test_most_smudges_are_no_thing():
    rng = np.random.default_rng(4)
    ground, rows, columns = render(Scene("mint"), 80).astype(np.float32), *np.mgrid[:80, :80]
    named = 0
    for _ in range(50):
        bumps = Image.fromarray(rng.normal(0, 1.5, (10, 10)).astype(np.float32)).resize(
            (80, 80), Image.Resampling.BICUBIC
        )
        inside = np.clip(np.asarray(bumps) + 1.5 - np.hypot(rows - 40, columns - 40) / 12, 0, 1)[..., None]
        smudge = ground + inside * (np.array([216, 38, 40]) - ground)
        named += len(read(smudge.astype(np.uint8)).things)
    assert named <= 10


def test_letters_never_become_things():
    rng = np.random.default_rng(5)
    for _ in range(100):
        scene = scenes.written(rng)
        assert len(read(degraded(render(scene, 80), rng)).things) == len(scene.things)


def test_parts_are_found_as_flood_filling_finds_them():
    rng = np.random.default_rng(6)
    mask = rng.random((24, 30)) < 0.55
    seen, expected = np.zeros_like(mask), []
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        part, stack = np.zeros_like(mask), [start]
        while stack:
            y, x = stack.pop()
            if 0 <= y < 24 and 0 <= x < 30 and mask[y, x] and not part[y, x]:
                part[y, x] = True
                stack += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        seen |= part
        expected.append(part)
    got = components(mask)
    assert len(got) == len(expected)
    assert {part.tobytes() for part in got} == {part.tobytes() for part in expected}


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((80, 80), np.uint8),
        np.zeros((80, 80, 3), np.float32),
        np.zeros((80, 60, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
    ],
)
def test_what_is_no_square_colour_picture_is_refused(bad):
    with pytest.raises(ValueError, match="image: expected"):
        read(bad)
