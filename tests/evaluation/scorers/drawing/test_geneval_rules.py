"""GenEval's rules at their edges; recorded verdicts are in tests/parity."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.scorers.drawing.geneval_rules import (
    Found,
    Rules,
    classes_of,
    iou,
    judge,
    relative_position,
    select,
    to_color,
)


def boxes(*lefts, top=0, side=10):
    return np.array([[x, top, x + side, top + side] for x in lefts], float)


def test_boxes_include_their_last_pixel():
    assert iou([0, 0, 9, 9], [0, 0, 9, 4]) == 0.5
    assert iou([0, 0, 9, 9], [9, 9, 18, 18]) == pytest.approx(1 / 199)  # one pixel of 100 + 100 - 1
    assert iou([0, 0, 9, 9], [20, 20, 30, 30]) == 0


def test_kept_is_what_scores_above_the_threshold_best_first():
    scores = np.array([0.3, 0.5, 0.31, 0.9, 0.91])
    places = boxes(0, 20, 40, 60, 80)
    assert select(places, scores, "colors").tolist() == [4, 3, 1, 2]
    assert select(places, scores, "counting").tolist() == [4]
    assert select(places, scores, "colors", Rules(threshold=0.5)).tolist() == [4, 3]
    assert select(places, scores, "colors", Rules(max_objects=2)).tolist() == [4, 3]
    assert select(np.zeros((0, 4)), np.zeros(0), "colors").tolist() == []


def test_what_overlaps_a_better_one_is_dropped_only_if_asked():
    places = np.array([[0, 0, 9, 9], [0, 0, 9, 4], [50, 50, 59, 59]], float)
    scores = np.array([0.8, 0.9, 0.7])
    assert select(places, scores, "colors").tolist() == [1, 0, 2]
    assert select(places, scores, "colors", Rules(max_overlap=0.5)).tolist() == [1, 2]
    assert select(places, scores, "colors", Rules(max_overlap=0.51)).tolist() == [1, 0, 2]


def test_what_is_dropped_drops_nothing_else():
    row = np.array([[0, 0, 9, 9], [4, 0, 13, 9], [8, 0, 17, 9]], float)  # neighbours overlap, ends hardly do
    assert select(row, np.array([0.9, 0.8, 0.7]), "colors", Rules(max_overlap=0.3)).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ((-100, 0), {"left of"}),
        ((100, 0), {"right of"}),
        ((0, -100), {"above"}),
        ((0, 100), {"below"}),
        ((-100, 100), {"left of", "below"}),
        ((0, 0), set()),
        ((2, 0), set()),  # less than a tenth of the sizes, 10 and 10
        ((100, 30), {"right of"}),
    ],
)
def test_relations_follow_the_offset(centre, expected):
    x, y = centre
    assert relative_position([x - 5, y - 5, x + 5, y + 5], [-5, -5, 5, 5]) == expected


def test_an_offset_is_shrunk_before_it_is_compared_with_the_whole():
    # Offset (3, 0), sizes 10 and 10: shrunk to 1, a third of 3. Without shrinking it is all of it.
    assert relative_position([-2, -5, 8, 5], [-5, -5, 5, 5]) == set()
    assert relative_position([-2, -5, 8, 5], [-5, -5, 5, 5], 0) == {"right of"}


def asks(count=1, **more):
    return {"include": [{"class": "dog", "count": count, **more}]}


def test_a_lower_scored_thing_never_makes_up_for_the_best():
    found = {"dog": Found(boxes(0, 20), ["red", "blue"])}
    verdict = judge(asks(color="blue"), found)
    assert (verdict.correct, verdict.reason) == (False, "expected blue dog>=1, found 0 blue; and 1 red")
    assert judge(asks(color="red"), found).correct
    assert not judge(asks(2, color="red"), found).correct


def test_too_many_are_wrong_only_where_they_are_excluded():
    found = {"dog": Found(boxes(0, 20, 40))}
    assert judge(asks(2), found).correct
    verdict = judge(asks(2) | {"exclude": [{"class": "dog", "count": 3}]}, found)
    assert verdict.reasons == ("expected dog<3, found 3",)
    assert judge(asks(2) | {"exclude": [{"class": "cat", "count": 1}]}, found).correct


def test_place_is_not_looked_at_after_a_wrong_colour_or_a_target_that_failed():
    cat = {"class": "cat", "count": 1, "color": "red", "position": ["left of", 0]}
    asked = {"include": [{"class": "dog", "count": 1}, cat]}
    right_of = {"dog": Found(boxes(0)), "cat": Found(boxes(100), ["blue"])}
    assert judge(asked, right_of).reasons == ("expected red cat>=1, found 0 red; and 1 blue",)
    right_of["cat"] = Found(boxes(100), ["red"])
    assert judge(asked, right_of).reasons == ("expected cat left of target, found right of target",)
    right_of["dog"] = Found(np.zeros((0, 4)))
    assert judge(asked, right_of).reasons == (
        "expected dog>=1, found 0",
        "no target for cat to be left of",
    )


def test_every_thing_must_stand_right_to_every_target():
    asked = {
        "include": [
            {"class": "dog", "count": 2},
            {"class": "cat", "count": 2, "position": ["left of", 0]},
        ]
    }
    dogs = Found(boxes(100, 200))
    assert judge(asked, {"dog": dogs, "cat": Found(boxes(0, 20))}).correct
    assert not judge(asked, {"dog": dogs, "cat": Found(boxes(0, 150))}).correct


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "expected a field 'include'"),
        ({"include": [{"class": "dog"}]}, "expected a field 'count'"),
        (asks(color="red"), "prompt asks for red dog: expected the colours of the 1 best, got"),
        (asks(position=["left of", 0]), "expected the index of an earlier clause, got 0"),
        (asks(position=["left", 0]), "did you mean 'left of'"),
    ],
)
def test_what_cannot_be_judged_is_named(metadata, said):
    with pytest.raises(ValueError, match=said):
        judge(metadata, {"dog": Found(boxes(0), [None])})


def test_only_what_decides_needs_a_colour():
    asked = {
        "include": [{"class": "dog", "count": 2, "color": "red"}, {"class": "cat", "count": 1}],
        "exclude": [{"class": "cow", "count": 1}],
    }
    assert to_color(asked, {"dog": 3, "cat": 1}) == {"dog": 2}
    assert to_color(asked, {"dog": 1, "cat": 1}) == {}
    assert list(classes_of(asked)) == ["dog", "cat", "cow"]
