"""The shipped model is whole, small, described, and does what it is shipped for."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import unimm
from unimm import UniMM
from unimm.config import build, load
from unimm.model import ModelSettings
from unimm.training.tiny import LIMIT
from unimm.world.prompts import prompts
from unimm.world.reader import read
from unimm.world.render import render
from unimm.world.scene import Scene, Thing
from unimm.world.spec import holds

ROOT = Path(unimm.__file__).parent
FOLDER = ROOT / "assets" / "tiny"
SHARD_BYTES = 15_000_000


@cache
def tiny() -> UniMM:
    return UniMM.from_pretrained("tiny")


def test_it_is_small_and_in_small_shards():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sum(sizes.values()) < LIMIT
    assert max(sizes.values()) <= SHARD_BYTES


def test_it_has_a_card_with_its_scores():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("held in", "held out", "make tiny", "Apache-2.0"):
        assert word in card


def test_its_recipe_makes_its_sizes():
    shipped = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["settings"]
    recipe = load(ModelSettings, ROOT.parent / "configs" / "model" / "tiny.yaml")
    assert build(ModelSettings, shipped) == recipe


def test_it_obeys_its_prompts_far_more_often_than_others():
    asked = [p for p in prompts("held_in", 8, seed=5) if p.spec.family in ("single_object", "colors")]
    drawn = tiny().generate_image([p.text for p in asked], num_inference_steps=20, seed=0).images
    scenes = [read(np.asarray(image)) for image in drawn]
    own = np.mean([holds(p.spec, scene) for p, scene in zip(asked, scenes, strict=True)])
    others = np.mean([holds(p.spec, scene) for p in asked for scene in scenes])
    assert own >= 0.5  # the floor below which no weights are shipped
    assert own >= 2 * others


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What color is the star?", "yellow"),
        ("How many squares are there?", "1"),
        ("What is the background?", "slate"),
    ],
)
def test_it_answers_about_a_render(question, answer):
    things = (Thing("star", "yellow", 0.27, 0.5, 0.19), Thing("square", "red", 0.73, 0.5, 0.19))
    assert tiny().answer(render(Scene("slate", things), 80), question) == answer


def test_it_draws_when_it_is_asked_to_in_conversation_and_again_after_a_question():
    talk = unimm.Conversation(tiny(), seed=0)
    assert talk.say("Generate an image of two yellow hearts").images
    assert not talk.say("How many hearts are there?").images
    assert talk.say("Generate an image of a pink moon").images
