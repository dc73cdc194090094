"""Parsers and accuracies of answers, against recorded outputs of the public harnesses' own code."""

from __future__ import annotations

import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.answering.parsers import (
    inferred,
    letters,
    mmmu_choice,
    mmmu_open,
    vqa_text,
    yes_no,
)

TOLERANCE = 1e-9  # where a file names none


def cases(recorded, group: str | None = None) -> list[dict]:
    found = [case for case in recorded.value["cases"] if group is None or case.get("group") == group]
    assert found, f"{recorded.name}: no cases of {group}"
    return found


def tolerance(recorded) -> float:
    return recorded.value["meta"].get("tol", TOLERANCE)


def different(pairs: dict[str, tuple]) -> dict[str, tuple]:
    """Return what was got and what was expected, where these differ."""
    return {name: (got, wanted) for name, (got, wanted) in pairs.items() if got != wanted}


def lettered(options: list[str]) -> dict[str, str]:
    return {chr(ord("A") + at): option for at, option in enumerate(options)}


@pytest.mark.parity("eval/evalai_answer_processor_*")
def test_answers_are_normalised_as_evalai_does(recorded):
    pairs = {case["id"]: (vqa_text.evalai(case["input"]), case["expected"]) for case in cases(recorded)}
    assert not different(pairs)


@pytest.mark.parity("eval/vqav2_normalizer_*")
def test_answers_are_normalised_as_vqav2_does(recorded):
    for case in cases(recorded):
        one_line = vqa_text.one_line(case["input"])
        assert vqa_text.strip_punctuation(one_line) == case["punctuation_only"], case["id"]
        assert vqa_text.vqav2(case["input"]) == case["expected"], case["id"]


def score_one(bench: str, prediction: str, golds: list[str], protocol: str = "official") -> float:
    record = {"id": 0, "prediction": prediction, "gold": golds}
    return float(SCORERS[bench].score([record], protocol).values[0])


@pytest.mark.parity("eval/textvqa_accuracy_*")
@pytest.mark.parametrize("protocol", ["official", "cambrian", "lmms_eval"])
def test_textvqa_accuracy_is_that_of_its_evaluator(recorded, protocol):
    for case in cases(recorded):
        got = score_one("textvqa", case["pred"], case["gt_answers"], protocol)
        assert got == pytest.approx(case["expected"], abs=tolerance(recorded)), case["id"]


@pytest.mark.parity("eval/vqav2_accuracy_*")
def test_vqav2_accuracy_is_that_of_its_evaluator(recorded):
    for case in cases(recorded):
        got = score_one("vqav2", case["pred"], case["gt_answers"])
        # recorded in per cent, rounded to six decimals
        assert round(100 * got, 6) == pytest.approx(case["expected_percent"], abs=tolerance(recorded)), case[
            "id"
        ]


@pytest.mark.parity("eval/anls_*")
@pytest.mark.parametrize("bench", ["docvqa", "infovqa", "stvqa"])
def test_anls_is_that_of_its_evaluator(recorded, bench):
    for case in cases(recorded):
        got = score_one(bench, case["pred"], case["gt_answers"])
        assert got == pytest.approx(case["expected"], abs=tolerance(recorded)), case["id"]


@pytest.mark.parity("eval/chartqa_relaxed_*")
@pytest.mark.parametrize(
    ("protocol", "column"),
    [("official", "relaxed_correctness"), ("lmms_eval", "relaxed_correctness"), ("cambrian", "cambrian")],
)
def test_numbers_are_relaxed_as_recorded(recorded, protocol, column):
    for case in cases(recorded):
        got = score_one("chartqa", case["pred"], [case["gt"]], protocol)
        assert got == float(case["expected"][column]), case["id"]


@pytest.mark.parity("eval/mmmu_multi_choice_*")
def test_letters_of_mmmu_are_read_as_recorded(recorded):
    for case in cases(recorded):
        options, wanted = lettered(case["options"]), case["expected"]
        for name, read in (("mmmu", mmmu_choice.mmmu), ("mmmu_pro", mmmu_choice.mmmu_pro)):
            got = read(case["response"], options)
            assert got == wanted[name], (case["id"], name)
            if got is not None:  # what falls through is right by chance upstream
                assert (got == case["gold"]) == wanted[f"{name}_correct"], (case["id"], name)


@pytest.mark.parity("eval/mmmu_open_*")
def test_open_answers_of_mmmu_are_read_and_matched_as_recorded(recorded):
    for case in cases(recorded):
        parsed = mmmu_open.parse(case["response"])
        # numbers first, then texts, each by its text: as the file's note says
        ordered = sorted(parsed, key=lambda value: (isinstance(value, str), str(value)))
        assert ordered == case["expected"]["parsed_sorted"], case["id"]
        assert mmmu_open.matches(parsed, case["gold"]) == case["expected"]["correct"], case["id"]
        golds = case["gold"] if isinstance(case["gold"], list) else [case["gold"]]
        record = {"id": 0, "prediction": case["response"], "gold": golds}
        assert SCORERS["mmmu"].score([record]).values[0] == case["expected"]["correct"], case["id"]


LETTER_READERS = {
    "cambrian_ai2d_mmmu_mmbench": lambda answer, options: letters.cambrian_first(answer),
    "cambrian_seed": lambda answer, options: letters.cambrian_first(answer, "."),
    "cambrian_mmvp": lambda answer, options: letters.cambrian_option(answer),
    "cambrian_single_answer": lambda answer, options: letters.cambrian_answer(answer),
    "vlmevalkit_can_infer": lambda answer, options: inferred.vlmevalkit(answer, options) or False,
    "llava_scienceqa": lambda answer, options: letters.llava_scienceqa(answer, options) or "FAILED",
    "lmms_seed_first_char": lambda answer, options: letters.lmms_seed_first(answer),
    "lmms_ai2d_filter": lambda answer, options: letters.lmms_ai2d_filter(answer),
}


@pytest.mark.parity("eval/mcq_letter_extract_*")
@pytest.mark.parametrize("harness", LETTER_READERS)
def test_letters_are_extracted_as_each_harness_does(recorded, harness):
    pairs = {
        case["id"]: (
            LETTER_READERS[harness](case["response"], lettered(case["options"])),
            case["expected"][harness],
        )
        for case in cases(recorded)
    }
    assert not different(pairs)


@pytest.mark.parity("eval/mcq_letter_extract_*")
def test_every_harness_recorded_is_read(recorded):
    assert {name for case in cases(recorded) for name in case["expected"]} == set(LETTER_READERS)


@pytest.mark.parity("eval/vlmevalkit_yesno_*")
def test_yes_and_no_are_found_as_vlmevalkit_does(recorded):
    for case in cases(recorded):
        got = yes_no.vlmevalkit(case["response"])
        assert ("Unknown" if got is None else got.capitalize()) == case["expected"], case["id"]


@pytest.mark.parity("eval/mme_*")
def test_yes_and_no_of_mme_are_read_as_recorded(recorded):
    for case in cases(recorded, "parse"):
        got = {
            "official": yes_no.mme_official(case["response"]) or "other",
            "lmms_eval": yes_no.mme_lmms_eval(case["response"]) or "other",
            "cambrian": yes_no.mme_cambrian_text(case["response"]),
        }
        assert got == case["expected"], case["id"]


@pytest.mark.parity("eval/pope_*")
def test_yes_and_no_of_pope_are_read_as_recorded(recorded):
    for case in cases(recorded, "parse"):
        for harness, wanted in case["expected"].items():
            read = {
                "official": yes_no.pope_official,
                "lmms_eval": yes_no.pope_lmms_eval,
                "cambrian": yes_no.pope_cambrian,
            }[harness]
            # upstream what is neither is compared as text, and wrong; no word at all breaks Cambrian's
            assert read(case["response"]) == (wanted if wanted in ("yes", "no") else None), case["id"]
