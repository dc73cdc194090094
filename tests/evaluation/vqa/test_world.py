"""What is asked about the world is true of the scene, and neither answer is favoured."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from unimm.evaluation.vqa.scenes import PAIRS, Choice, annotators, choice, short, two_looks, yes_no_pair
from unimm.evaluation.vqa.sources import open_data
from unimm.evaluation.vqa.tasks import TASKS
from unimm.evaluation.vqa.world import MAKERS, PIXELS
from unimm.world import vocabulary as words
from unimm.world.held_out import in_scene

NUMBER = 40


def rng(index: int) -> np.random.Generator:
    return np.random.default_rng([5, index])


def truth(scene, question: str) -> bool:
    """Answer a question of the pairs by looking at the scene, without the world's own reasoning."""
    asked = question.rstrip("?").split()
    if question.startswith("Is there"):
        *_, shape = asked
        colour = asked[-2] if asked[-2] in words.COLOURS else None
        return any(thing.shape == shape and colour in (None, thing.colour) for thing in scene.things)
    if question.startswith("Does this image align"):
        number = next(count for count, word in words.COUNT_WORDS.items() if word in asked)
        shape = next(shape for shape in words.SHAPES if words.plural(shape) in asked)
        return scene.counts()[shape] == number
    first, second = asked[2], asked[-1]
    a, b = (next(thing for thing in scene.things if thing.shape == shape) for shape in (first, second))
    dx, dy = float(a.x - b.x), float(a.y - b.y)
    across, upright = "left" if dx < 0 else "right", "above" if dy < 0 else "below"
    return asked[3] == (across if abs(dx) > abs(dy) else upright)  # the axis on which they are farther apart


@pytest.mark.parametrize("category", PAIRS)
def test_of_a_pair_one_is_true_and_one_is_not(category):
    for index in range(NUMBER):
        scene, yes, no = yes_no_pair(rng(index), category)
        assert (truth(scene, yes), truth(scene, no)) == (True, False), (scene, yes, no)
        assert not in_scene(scene)


def test_the_right_option_is_what_the_scene_shows_and_no_letter_is_favoured():
    letters = Counter()
    for index in range(400):
        scene, asked = choice(rng(index))
        answer, letters = asked.options[asked.right], letters + Counter([asked.letter])
        named = asked.text.rstrip("?").split()
        if asked.category == "color":
            wanted = {thing.colour for thing in scene.things if thing.shape == named[-1]}
        else:
            wanted = {thing.shape for thing in scene.things if thing.colour == named[-2]}
        assert wanted == {answer}
        assert len(set(asked.options)) == 4
    assert min(letters.values()) > 70  # of 100 each; five standard deviations are 43


def test_rotations_put_the_right_option_at_every_letter():
    asked = Choice("?", ("a", "b", "c", "d"), 1, "")
    turned = [asked.rotated(step) for step in range(4)]
    assert [each.options[each.right] for each in turned] == ["b"] * 4
    assert sorted(each.letter for each in turned) == ["A", "B", "C", "D"]
    assert turned[0] == asked


def test_short_answers_are_what_the_scene_shows():
    for index in range(NUMBER):
        scene, text, answer, kind = short(rng(index))
        named = text.rstrip("?").split()
        if kind == "number":
            shape = next(shape for shape in words.SHAPES if words.plural(shape) == named[2])
            assert answer == str(sum(thing.shape == shape for thing in scene.things))
        else:
            assert {thing.colour for thing in scene.things if thing.shape == named[-1]} == {answer}


def test_ten_annotators_mostly_agree():
    said = [annotators("2", rng(index)) for index in range(100)]
    assert {len(each) for each in said} == {10}
    share = sum(each.count("2") for each in said) / 1000
    assert 0.74 < share < 0.86  # 0.8 within five standard deviations
    assert {answer for each in said for answer in each} == {"2", "2.", "two", "unsure"}


def test_a_pair_of_pictures_differs_in_colour_only():
    for index in range(NUMBER):
        first, second = two_looks(rng(index))
        assert first.things[0].colour != second.things[0].colour
        assert first.things[0].shape == second.things[0].shape
        assert not in_scene(first) | in_scene(second)


@pytest.mark.parametrize("bench", MAKERS)
def test_rows_are_questions_with_pictures_and_depend_on_the_seed_alone(bench):
    task = TASKS[bench]
    one, again, other = (
        [data.schema(row) for row in data.rows()]
        for data in (open_data(task, "world", seed=seed, limit=4) for seed in (0, 0, 1))
    )
    assert one == again != other
    fewer = [TASKS[bench].hub(row) for row in open_data(task, "world", seed=0, limit=2).rows()]
    assert one[: len(fewer)] == fewer
    sizes = {Image.open(io.BytesIO(question.picture.read())).size for question in one}
    assert sizes == {(PIXELS, PIXELS)}
    assert len({question.id for question in one}) == len(one)


def test_the_world_cannot_ask_what_it_has_no_pictures_for():
    with pytest.raises(ValueError, match="--data world: benchmark: expected one of .*, got 'mmmu_pro'"):
        open_data(TASKS["mmmu_pro"], "world")
