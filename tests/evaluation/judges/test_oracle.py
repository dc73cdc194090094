"""Oracles on the world: right on every render, and wrong exactly as told."""

import numpy as np
import pytest
from PIL import Image

from unimm.evaluation.judges import ColorClassifier, Detector, Judge, SoftVQA, YesNoVQA
from unimm.evaluation.judges.oracle import Defects, OracleColors, OracleDetector, OracleVQA
from unimm.evaluation.judges.world_questions import UNREADABLE
from unimm.world import vocabulary as words
from unimm.world.questions import ALIGN
from unimm.world.render import coverage, render
from unimm.world.scene import Scene, Thing, sample_scene

SIDE = 96
TWO = Scene("sand", (Thing("circle", "red", 0.27, 0.5, 0.14), Thing("star", "blue", 0.73, 0.5, 0.19)))


def show(scene, side=SIDE):
    return Image.fromarray(render(scene, side))


def scenes(count, seed=0):
    rng = np.random.default_rng(seed)
    drawn = (sample_scene(rng) for _ in range(10 * count))
    return [scene for scene in drawn if scene.writing is None][:count]


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("side", [64, 96, 200])
def test_the_detector_finds_every_thing_where_it_is(side):
    detector = OracleDetector()
    assert isinstance(detector, Detector)
    drawn = scenes(8)
    for scene, found in zip(drawn, detector.detect([show(scene, side) for scene in drawn]), strict=True):
        assert sorted(found.labels) == sorted(thing.shape for thing in scene.things)
        assert found.masks.shape == (len(scene.things), side, side)
        everywhere = np.arange(side)
        true = [coverage(thing, everywhere, everywhere, side) > 0.5 for thing in scene.things]
        for mask, box in zip(found.masks, found.boxes, strict=True):
            assert max(overlap(mask, other) for other in true) > 0.85
            x1, y1, x2, y2 = box.astype(int)
            assert mask[y1:y2, x1:x2].sum() == mask.sum()
        assert (found.scores > 0.9).all()


def test_every_shape_in_every_colour_on_every_ground_gets_its_colour():
    judge, detector = OracleColors(), OracleDetector()
    assert isinstance(judge, ColorClassifier)
    for ground in words.BACKGROUNDS:
        for colour in words.COLOURS:
            pictures = [show(Scene(ground, (Thing(s, colour, 0.5, 0.5, 0.19),))) for s in words.SHAPES]
            for image, found in zip(pictures, detector.detect(pictures), strict=True):
                assert judge.colors(image, found.boxes, found.masks, found.labels[0]) == [colour]


def rate(defects, right=lambda found: sorted(found.labels) == ["circle", "star"]):
    """How often two things are found as they are, over slightly different pictures."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(60):
        x, y = rng.uniform(-0.02, 0.02, 2)
        things = [Thing(t.shape, t.colour, t.x + x, t.y + y, t.radius) for t in TWO.things]
        pictures.append(show(Scene("sand", tuple(things)), 64))
    return np.mean([right(found) for found in OracleDetector(defects).detect(pictures)])


@pytest.mark.parametrize(
    ("defects", "expected"),
    [
        (Defects(), 1.0),
        (Defects(miss=1.0), 0.0),
        (Defects(miss=0.3), 0.7**2),
        (Defects(duplicate=0.4), 0.6**2),
        (Defects(swap=0.5), 0.25),  # the chance that one becomes the other is 1 in 7 of the rest
    ],
)
def test_a_planted_defect_happens_as_often_as_it_is_told_to(defects, expected):
    assert rate(defects) == pytest.approx(expected, abs=3 * np.sqrt(0.25 / 60) if 0 < expected < 1 else 0)


def test_scores_are_lowered_by_up_to_the_jitter():
    scores = np.concatenate(
        [f.scores for f in OracleDetector(Defects(jitter=0.5)).detect([show(s) for s in scenes(20)])]
    )
    assert (scores > 0.98 - 0.5 - 1e-6).all()
    assert (scores < 0.98 + 1e-6).all()
    assert scores.std() > 0.05


def test_a_picture_meets_the_same_fate_alone_or_in_company():
    pictures = [show(scene) for scene in scenes(6)]
    detector = OracleDetector(Defects(miss=0.4, swap=0.4, jitter=0.5, seed=3))
    together = detector.detect(pictures)
    for image, found in zip(reversed(pictures), reversed(together), strict=True):
        (alone,) = detector.detect([image])
        assert alone.labels == found.labels
        np.testing.assert_array_equal(alone.scores, found.scores)
    other = OracleDetector(Defects(miss=0.4, swap=0.4, jitter=0.5, seed=4)).detect(pictures)
    assert any(a.labels != b.labels for a, b in zip(together, other, strict=True))


def test_a_picture_of_nothing_has_no_detections():
    (found,) = OracleDetector().detect([show(Scene("sky"))])
    assert len(found) == 0
    assert found.masks.shape == (0, SIDE, SIDE)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is there a circle?", "yes"),
        ("Is there a red circle?", "yes"),
        ("Is there a blue circle?", "no"),
        ("Are there two circles?", "no"),
        ("Is the star blue?", "yes"),
        ("Is the star red?", "no"),
        ("Is the circle left of the star?", "yes"),
        ("Is the circle to the right of the star?", "no"),
        ("Is the background sand?", "yes"),
        ("Is the background mint?", "no"),
        ("How many stars are there?", "1"),
        ("How many moons are there?", "0"),
        (ALIGN.format(prompt="a photo of a red circle left of a blue star"), "yes"),
        (ALIGN.format(prompt="a photo of a red circle above a blue star"), "no"),
        ("Is the cat asleep?", UNREADABLE),
        ("What is this?", UNREADABLE),
    ],
)
def test_questions_are_answered_from_the_scene(question, expected):
    assert OracleVQA().ask([show(TWO)], [question]) == [expected]


def test_the_oracle_is_sure_of_its_answer_however_it_is_spelled():
    judge = OracleVQA()
    assert isinstance(judge, YesNoVQA)
    assert isinstance(judge, SoftVQA)
    assert isinstance(judge, Judge)
    questions = ["Is there a star?", "How many circles are there?", "How many circles are there?"]
    spellings = [["Yes", " yes"], [" one", "1"], ["two", "2"]]
    assert judge.mass([show(TWO)] * 3, questions, spellings) == pytest.approx([0.98, 0.98, 0.02])


def test_wrong_answers_and_colours_are_as_many_as_told():
    pictures = [show(scene) for scene in scenes(40)]
    said = OracleVQA(wrong=0.5).ask(pictures, ["Is there a circle?"] * 40)
    right = OracleVQA().ask(pictures, ["Is there a circle?"] * 40)
    assert 8 <= sum(a != b for a, b in zip(said, right, strict=True)) <= 32
    assert OracleVQA(wrong=1.0).ask([show(TWO)], ["Is there a circle?"]) == ["no"]
    (found,) = OracleDetector().detect([show(TWO)])
    named = OracleColors(wrong=1.0).colors(show(TWO), found.boxes, found.masks, "circle")
    assert all(a != b for a, b in zip(named, ("red", "blue"), strict=True))


@pytest.mark.parametrize(
    "make", [lambda: Defects(miss=1.5), lambda: OracleVQA(wrong=-0.1), lambda: OracleColors(2)]
)
def test_a_rate_outside_zero_to_one_is_refused(make):
    with pytest.raises(ValueError, match="from 0 to 1"):
        make()


def test_an_oracle_that_errs_is_called_by_its_errors():
    assert OracleDetector().name == OracleColors(seed=3).name == OracleVQA().name == "oracle"
    assert OracleDetector(Defects(miss=0.3, jitter=0.05, seed=2)).name == "oracle-miss0.3-jitter0.05-seed2"
    assert OracleColors(wrong=0.25).name == OracleVQA(wrong=0.25).name == "oracle-wrong0.25"
