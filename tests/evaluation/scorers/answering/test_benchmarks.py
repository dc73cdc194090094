"""Scores whose value follows from the rules by hand."""

from __future__ import annotations

import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.answering.parsers import edit_distance, inferred, letters
from unimm.evaluation.scorers.answering.parsers.contractions import CONTRACTIONS
from unimm.evaluation.scorers.answering.short import soft_accuracy

OPTIONS = ["cat", "dog", "a bird", "fish"]


def value(bench: str, prediction: str, gold, protocol: str | None = None, **fields) -> float:
    record = {"id": 1, "prediction": prediction, "gold": gold, **fields}
    return float(SCORERS[bench].score([record], protocol).values[0])


@pytest.mark.parametrize(("equal", "wanted"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_soft_accuracy_leaves_each_annotator_out(equal, wanted):
    # of k equal answers, k annotators leave k - 1 and the others leave k:
    # (k min(1, (k - 1) / 3) + (10 - k) min(1, k / 3)) / 10
    assert soft_accuracy("x", ["x"] * equal + ["y"] * (10 - equal)) == pytest.approx(wanted)


@pytest.mark.parametrize(("protocol", "right"), [("official", 0.0), ("lmms_eval", 1.0), ("vlmevalkit", 1.0)])
def test_unanimous_answers_of_vqav2_are_compared_as_they_stand(protocol, right):
    assert value("vqav2", "The Dog", ["dog"] * 10, protocol) == right


def test_a_period_after_a_digit_is_spared_by_vlmevalkit_only():
    golds = ["2.", *["2"] * 9]
    assert value("vqav2", "2.", golds, "official") == 1.0
    assert value("vqav2", "2.", golds, "vlmevalkit") == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("prediction", "by_protocol"),
    [
        ("left", {"official": 1, "cambrian": 1, "lmms_eval": 1, "vlmevalkit": 1}),
        ("Left.", {"official": 0, "cambrian": 1, "lmms_eval": 1, "vlmevalkit": 0}),
        (" left", {"official": 0, "cambrian": 0, "lmms_eval": 0, "vlmevalkit": 1}),
        ("left!", {"official": 0, "cambrian": 0, "lmms_eval": 1, "vlmevalkit": 0}),
    ],
)
def test_gqa_is_equality_of_four_kinds(prediction, by_protocol):
    assert {name: value("gqa", prediction, "left", name) for name in by_protocol} == by_protocol


@pytest.mark.parametrize(
    ("prediction", "by_protocol"),
    [
        ("B", {"official": 1, "cambrian": 1, "lmms_eval": 1, "vlmevalkit": 1}),
        ("dog", {"official": 1, "cambrian": 0, "lmms_eval": 0, "vlmevalkit": 1}),
        ("1", {"official": 0, "cambrian": 1, "lmms_eval": 0, "vlmevalkit": 0}),
        ("B. dog", {"official": 0, "cambrian": 1, "lmms_eval": 1, "vlmevalkit": 1}),
        ("b", {"official": 1, "cambrian": 1, "lmms_eval": 1, "vlmevalkit": 0}),
    ],
)
def test_letters_of_ai2d_by_protocol(prediction, by_protocol):
    got = {name: value("ai2d", prediction, "B", name, options=OPTIONS) for name in by_protocol}
    assert got == by_protocol


def test_seed_is_read_by_its_first_character_in_lmms_eval():
    assert value("seed", "Dogs", "D", "lmms_eval", options=OPTIONS) == 1
    assert value("seed", "Dogs", "D", "official", options=OPTIONS) == 0


def test_mmstar_of_lmms_eval_is_the_mean_of_subcategories():
    rows = [("s", "x", 1), ("s", "x", 1), ("s", "x", 1), ("s", "y", 0), ("t", "z", 1)]
    made = [
        {
            "id": at, "category": category, "subcategory": below, "gold": "A", "options": OPTIONS,
            "prediction": "The answer is (A)." if right else "B",
        }
        for at, (category, below, right) in enumerate(rows)
    ]  # fmt: skip
    metrics = SCORERS["mmstar"].score(made, "lmms_eval").metrics()
    assert metrics["accuracy"] == 0.8
    assert (metrics["mean/s"], metrics["mean/t"]) == (0.5, 1.0)
    assert metrics["mean"] == pytest.approx(2 / 3)


def test_scienceqa_of_cambrian_counts_pictures_twice():
    made = [
        {"id": 1, "gold": "A", "options": OPTIONS, "has_image": True, "prediction": "cat"},
        {"id": 2, "gold": "A", "options": OPTIONS, "has_image": False, "prediction": "B"},
    ]
    metrics = SCORERS["scienceqa"].score(made, "cambrian").metrics()
    assert (metrics["accuracy"], metrics["accuracy_with_image"]) == (0.5, 1.0)
    assert metrics["accuracy_pictures_twice"] == pytest.approx(2 / 3)
    assert (
        SCORERS["scienceqa"].score(made, "official").metrics()["accuracy"] == 0
    )  # an option's text is not read


def test_open_questions_of_mmmu_by_protocol():
    by_protocol = {"official": 1, "cambrian": 0, "lmms_eval": 1, "vlmevalkit": 0}
    said = "So the height of it is about 7 metres."
    assert {name: value("mmmu", said, ["7"], name) for name in by_protocol} == by_protocol
    assert value("mmmu", "It is 7 metres.", ["7"], "vlmevalkit") == 1  # texts are looked for in short answers
    assert value("mmmu", "the answer is 7.2", ["7"], "cambrian") == 1  # 0.2 is within 5 % of 7.2
    assert value("mmmu", "7.4", ["7"], "cambrian") == 0
    assert value("mmmu", "7", ["7"], "vlmevalkit") == 1


def test_the_score_of_mmmu_pro_is_the_mean_of_two_settings():
    shared = {"gold": "A", "options": OPTIONS}
    made = [
        {"id": 1, "category": "standard (10 options)", "prediction": "A", **shared},
        {"id": 2, "category": "vision", "prediction": "A", **shared},
        {"id": 3, "category": "vision", "prediction": "B", **shared},
    ]
    assert SCORERS["mmmu_pro"].score(made).metrics()["mean"] == 0.75
    assert "mean" not in SCORERS["mmmu_pro"].score(made[:1]).metrics()


def test_perception_of_few_subtasks_says_so():
    made = [
        {"id": at, "image": "i", "category": "OCR", "gold": gold, "prediction": gold}
        for at, gold in enumerate(("yes", "no"))
    ]
    metrics = SCORERS["mme"].score(made).metrics()
    assert metrics["perception (1 of 10)"] == 200
    assert "perception" not in metrics


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("B", "B"), ("(C) because so", "C"), ("The answer is D", "D"), ("I pick (A) or B.", "B"),
        ("A: cat, B: dog", "A"), ("nothing", None), ("", None), ("Cats", "C"),
    ],
)  # fmt: skip
def test_the_form_trusted_most_wins_in_lmms_eval(prediction, letter):
    assert inferred.lmms_eval(prediction, dict(zip("ABCD", OPTIONS, strict=True))) == letter


def test_an_empty_answer_is_no_option():
    unlisted = dict.fromkeys("ABCD", "")
    readers = (letters.option_match, letters.cambrian_mmvp, letters.cambrian_scienceqa, letters.lmms_mmvp)
    assert {read("", unlisted) or None for read in readers} == {None}


def plain_distance(first: str, second: str) -> int:
    """Return the edit distance by its recursion."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        plain_distance(first[1:], second) + 1,
        plain_distance(first, second[1:]) + 1,
        plain_distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("", "ab"),
        ("ab", ""),
        ("abc", "abc"),
        ("kitten", "sitting"),
        ("abba", "baab"),
        ("aaaa", "aa"),
    ],
)
def test_the_edit_distance_is_that_of_its_recursion(first, second):
    assert edit_distance.distance(first, second) == plain_distance(first, second)


def test_similarity_below_a_half_is_nothing():
    assert edit_distance.anls("abcd", "abxy") == 0.5
    assert edit_distance.anls("abc", "axy") == 0.0
    assert edit_distance.anls(" ABCD ", "abcd") == 1.0
    assert edit_distance.anls_by_words("a  b", "a b") == 1.0


@pytest.mark.parametrize(
    ("written", "meant"),
    [("dont", "don't"), ("couldntve", None), ("couldnt've", "couldn't've"), ("couldn'tve", "couldn't've"),
     ("yall'd've", "y'all'd've"), ("ow's'at", "'ow's'at"), ("lets", None), ("shes", None)],
)  # fmt: skip
def test_contractions_get_their_apostrophe_back(written, meant):
    assert CONTRACTIONS.get(written) == meant
