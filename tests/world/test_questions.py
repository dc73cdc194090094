"""Questions have the one answer that an independent reading of the scene gives; no side is favoured."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from unimm.world import vocabulary as words
from unimm.world.grammar import parse, tells_all
from unimm.world.held_out import sample_allowed
from unimm.world.questions import ALIGN, alignment, ask, claim, description
from unimm.world.spec import holds

KINDS = {
    "existence",
    "count",
    "colour",
    "shape",
    "position",
    "comparison",
    "reading",
    "background",
    "multiple_choice",
}
SINGULAR = {words.plural(shape): shape for shape in words.SHAPES} | {shape: shape for shape in words.SHAPES}


@pytest.fixture(scope="module")
def asked():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(6000):
        scene = sample_allowed(rng)
        rows.append((scene, ask(scene, rng)))
    return rows


def by_kind(asked):
    sorted_rows = defaultdict(list)
    for scene, question in asked:
        sorted_rows[question.kind].append((scene, question))
    return sorted_rows


def shapes_in(text: str) -> list[str]:
    return [SINGULAR[word] for word in text.replace("?", "").replace(",", "").split() if word in SINGULAR]


def chosen(question) -> tuple[str, list[str]]:
    """The option that the answer names, and all of them."""
    found = re.findall(r"([A-D])\. (\w+)", question.text)
    options = dict(found)
    return options[question.answer], list(options.values())


def test_every_kind_is_asked(asked):
    assert set(by_kind(asked)) == KINDS


def test_counts_are_counted(asked):
    for scene, question in by_kind(asked)["count"]:
        (shape,) = shapes_in(question.text)
        assert question.answer == str(sum(thing.shape == shape for thing in scene.things))


def test_existence_is_looked_up(asked):
    for scene, question in by_kind(asked)["existence"]:
        (shape,) = shapes_in(question.text)
        colour = next(
            (word for word in question.text.replace("?", "").split() if word in words.COLOURS), None
        )
        there = any(t.shape == shape and colour in (None, t.colour) for t in scene.things)
        assert question.answer == ("yes" if there else "no")


def test_colours_and_shapes_are_those_of_the_thing(asked):
    for scene, question in by_kind(asked)["colour"]:
        (shape,) = shapes_in(question.text)
        assert {t.colour for t in scene.things if t.shape == shape} == {question.answer}
    for scene, question in by_kind(asked)["shape"]:
        colour = question.text.split()[4]
        assert [t.shape for t in scene.things if t.colour == colour] == [question.answer]


def test_one_choice_is_right_and_the_letters_are_used_evenly(asked):
    rows = by_kind(asked)["multiple_choice"]
    for scene, question in rows:
        right, options = chosen(question)
        assert len(set(options)) == len(options) == 4
        if question.text.startswith("What color"):
            assert {t.colour for t in scene.things if t.shape == shapes_in(question.text)[0]} == {right}
        else:
            assert right in {t.shape for t in scene.things if t.colour == question.text.split()[4]}
    share = Counter(question.answer for _, question in rows)
    assert set(share) == set("ABCD")
    assert max(share.values()) < 1.35 * min(share.values())


def test_positions_follow_from_the_centres(asked):
    for scene, question in by_kind(asked)["position"]:
        a, b = (next(t for t in scene.things if t.shape == shape) for shape in shapes_in(question.text))
        dx, dy = a.x - b.x, a.y - b.y
        true = (
            ("left of" if dx < 0 else "right of") if abs(dx) > abs(dy) else ("above" if dy < 0 else "below")
        )
        if question.text.startswith("Where"):
            assert question.answer == true
        else:
            assert question.answer == ("yes" if f" {true} " in question.text else "no")


def test_comparisons_follow_from_counts_and_radii(asked):
    for scene, question in by_kind(asked)["comparison"]:
        first, second = shapes_in(question.text)
        numbers = Counter(thing.shape for thing in scene.things)
        size = {thing.shape: thing.radius > 0.16 for thing in scene.things}
        if "more" in question.text:
            assert question.answer == ("yes" if numbers[first] > numbers[second] else "no")
        elif "same size" in question.text:
            assert question.answer == ("yes" if size[first] == size[second] else "no")
        else:
            assert size[question.answer]
            assert size[first] != size[second]


def test_words_and_backgrounds_are_read(asked):
    for scene, question in by_kind(asked)["background"]:
        assert question.answer == scene.background
    for scene, question in by_kind(asked)["reading"]:
        if question.text == "What word is written?":
            assert question.answer == scene.writing.text
        else:
            assert question.answer == ("yes" if scene.writing else "no")


def test_yes_is_right_about_as_often_as_no(asked):
    # Two things are of one size every other time, and then nothing but their sameness can be asked.
    for kind, most in (("existence", 0.65), ("position", 0.7), ("comparison", 0.7)):
        answers = Counter(q.answer for _, q in by_kind(asked)[kind] if q.answer in ("yes", "no"))
        assert 0.35 < answers["yes"] / answers.total() < most, (kind, answers)


def test_a_claim_put_to_the_verifier_is_true_half_the_time_and_answered_rightly():
    rng = np.random.default_rng(1)
    before, after = ALIGN.split("{prompt}")
    answers = Counter()
    for _ in range(4000):
        scene = sample_allowed(rng)
        question = alignment(scene, rng)
        if question is None:
            continue
        claim = parse(question.text.removeprefix(before).removesuffix(after))
        assert question.answer == ("yes" if holds(claim, scene) else "no")
        answers[question.answer] += 1
    assert 0.47 < answers["yes"] / answers.total() < 0.53
    assert answers.total() > 3600


def test_a_claim_names_things_in_either_order():
    rng, orders = np.random.default_rng(5), Counter()
    while sum(orders.values()) < 200:
        scene = sample_allowed(rng)
        spec = claim(scene, rng, truth=True)
        if spec and len(spec.mentions) == 2 and spec.relation is None and len(scene.things) == 2:
            orders[spec.mentions[0].shape == scene.things[0].shape] += 1
    assert 70 < orders[True] < 130, orders


def test_a_description_is_true_and_tells_all():
    rng = np.random.default_rng(2)
    for _ in range(1000):
        scene = sample_allowed(rng)
        assert tells_all(description(scene, rng).answer, scene)
