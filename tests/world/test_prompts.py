"""Prompts are balanced, repeatable, of their split, and say what their specification says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from unimm.world.grammar import parse
from unimm.world.held_out import in_scene, in_spec
from unimm.world.prompts import prompts, sample_prompt
from unimm.world.spec import FAMILIES, holds
from unimm.world.staging import scene_for

KIND = {
    "single_object": "shape_background",
    "two_object": "shape_shape",
    "counting": "count_shape",
    "colors": "shape_colour",
    "position": "shape_shape",
    "color_attr": "shape_colour",
}


@pytest.mark.parametrize("split", ["held_in", "held_out"])
def test_prompts_are_balanced_repeatable_and_shorter_lists_are_their_start(split):
    drawn = prompts(split, 30)
    assert Counter(p.spec.family for p in drawn) == dict.fromkeys(FAMILIES, 30)
    assert prompts(split, 30) == drawn
    assert prompts(split, 10) == drawn[:60]
    assert prompts(split, 30, seed=1) != drawn


def test_a_held_out_prompt_needs_a_combination_of_its_familys_kind_and_a_held_in_one_none():
    for prompt in prompts("held_in", 200):
        assert not in_spec(prompt.spec)
    for prompt in prompts("held_out", 200):
        assert {kind for kind, _ in in_spec(prompt.spec)} == {KIND[prompt.spec.family]}


def test_every_picture_that_obeys_a_held_out_prompt_shows_what_the_stream_never_shows():
    rng = np.random.default_rng(0)
    for prompt in prompts("held_out", 100):
        assert in_scene(scene_for(prompt.spec, rng))


def test_every_prompt_can_be_obeyed_and_says_what_is_judged():
    rng = np.random.default_rng(1)
    for prompt in prompts("held_in", 100) + prompts("held_out", 100):
        assert holds(prompt.spec, scene_for(prompt.spec, rng))
        assert parse(prompt.text) == replace(prompt.spec, family=None)


def test_a_family_has_several_phrasings():
    for family in FAMILIES:
        rng = np.random.default_rng(2)
        texts = [sample_prompt(family, "held_in", rng).text for _ in range(60)]
        assert len({text.split(" of ")[0] if text.startswith("a p") else "" for text in texts}) >= 3
        assert len(set(texts)) > 20


@pytest.mark.parametrize(("family", "split"), [("colours", "held_in"), ("colors", "train")])
def test_an_unknown_family_or_split_is_refused(family, split):
    with pytest.raises(ValueError, match="prompt: expected"):
        sample_prompt(family, split, np.random.default_rng(0))
