"""DPG-Bench, WISE and GenEval 2 from pictures to cards, by judges that know the answers."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from tests.evaluation.painter import Painter, draw, plan_of
from unimm.evaluation.bench import BENCHMARKS, geneval2, wise
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.bench.requests import marks_of, request_of
from unimm.evaluation.judges.oracle import OracleVQA
from unimm.evaluation.scorers.drawing.dpg_questions import COLUMNS
from unimm.evaluation.session import Options, kept_prompts, measured, score_folder

PROMPTS = {"a": "a red star", "b": "two circles", "c": "a heart above a square"}
ASKED = [  # item, number, parents, category, question; the first row is the one that official rules lose
    ("a", 1, "0", "entity - whole (star)", "Is there a star?"),
    ("a", 2, "0", "attribute - color (star, red)", "Is there a red star?"),
    ("b", 1, "0", "entity - whole (circle)", "Is there a circle?"),
    ("b", 2, "1", "other - count (circle, 2)", "Are there two circles?"),
    ("c", 1, "0", "entity - whole (heart)", "Is there a heart?"),
    ("c", 2, "0", "entity - whole (square)", "Is there a square?"),
    ("c", 3, "1,2", "relation - spatial (heart, square)", "Is the heart above the square?"),
]


@pytest.fixture
def dpg_files(tmp_path):
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, text in PROMPTS.items():
        (folder / f"{name}.txt").write_text(text)
    questions = tmp_path / "questions.csv"
    with questions.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *COLUMNS[::-1]])  # another order of columns, and one more
        for item, number, parents, kind, text in ASKED:
            writer.writerow(["", text, kind, parents, number, item])
    return folder, questions


@pytest.fixture
def dpg_run(dpg_files, tmp_path):
    folder, _ = dpg_files
    draw(Painter(), plan_of("dpg", Source(folder, allow_other=True), samples=4), tmp_path / "run")
    return tmp_path / "run"


def dpg_card(run, questions, protocol="official", judge=None, **options):
    given = Options({"questions": questions}, allow_other=True, protocol=protocol, **options)
    judges = {"vqa": judge or OracleVQA()}
    return score_folder(BENCHMARKS["dpg"], run, run, kept_prompts(run), judges, given)


@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_true_pictures_get_every_yes(protocol, dpg_run, dpg_files):
    card = dpg_card(dpg_run, dpg_files[1], protocol)
    assert card["scores"]["overall"]["mean"] == 100
    assert card["n"] == 12
    assert card["metric"] == ("dpg@oracle" if protocol == "official" else "dpg-fixed@oracle")
    assert card["resolution"] == ["80x80"]


def test_a_wrong_tile_lowers_its_prompt_by_its_share(dpg_run, dpg_files):
    path = dpg_run / "images" / "b.png"
    with Image.open(path) as grid:
        grid.paste((212, 194, 156), (80, 80, 160, 160))  # the last tile is left empty
        grid.save(path)
    card = dpg_card(dpg_run, dpg_files[1], "fixed")
    assert card["scores"]["overall"]["mean"] == pytest.approx(100 * (1 + 0.75 + 1) / 3)
    page = (dpg_run / "card.html").read_text()
    assert "no: Is there a circle?; Are there two circles?" in page


def test_a_grid_of_another_size_fails_and_is_counted(dpg_run, dpg_files):
    path = dpg_run / "images" / "c.png"
    with Image.open(path) as grid:
        grid.resize((200, 200)).save(path)
    card = dpg_card(dpg_run, dpg_files[1], "fixed")
    assert card["failed"] == 1
    assert card["scores"]["overall"]["mean"] == pytest.approx(200 / 3)
    official = dpg_card(dpg_run, dpg_files[1])
    assert official["left_out"]["prompts with a failed picture"] == 1
    records = [json.loads(line) for line in (dpg_run / "records.jsonl").read_text().splitlines()]
    failed = [record["failed"] for record in records if "failed" in record]
    assert len(failed) == 4
    assert "expected 80 x 80 pixels, got 100 x 100" in failed[0]


def test_an_answer_that_is_neither_yes_nor_no_is_counted(dpg_run, dpg_files):
    class Mumbling(OracleVQA):
        def ask(self, images, questions):
            return ["perhaps" if "heart" in question else "yes" for question in questions]

    card = dpg_card(dpg_run, dpg_files[1], "fixed", Mumbling())
    assert card["unparsed"] == 8
    assert card["scores"]["overall"]["mean"] == pytest.approx(100 * (1 + 1 + 1 / 3) / 3)


def test_questions_with_another_hash_are_refused_and_others_make_other_records(dpg_run, dpg_files):
    given = Options({"questions": dpg_files[1]})
    judges = {"vqa": OracleVQA()}
    with pytest.raises(
        ValueError, match="expected questions with the hash 98457fc9901943f51ff9a30367250fc292533bed"
    ):
        score_folder(BENCHMARKS["dpg"], dpg_run, dpg_run, kept_prompts(dpg_run), judges, given)
    first = dpg_card(dpg_run, dpg_files[1])
    dpg_files[1].write_text(dpg_files[1].read_text().replace("Is there a square?", "Is there a moon?"))
    second = dpg_card(dpg_run, dpg_files[1])
    assert first["inputs"] != second["inputs"]
    assert second["scores"]["overall"]["mean"] < first["scores"]["overall"]["mean"]


def test_questions_must_be_given(dpg_run):
    with pytest.raises(ValueError, match="--questions: dpg needs the path"):
        score_folder(
            BENCHMARKS["dpg"], dpg_run, dpg_run, kept_prompts(dpg_run), {"vqa": OracleVQA()}, Options({})
        )


def test_a_card_of_dpg_is_measured_again_from_its_folder(dpg_run, dpg_files):
    card = dpg_card(dpg_run, dpg_files[1])
    assert measured(dpg_run).scored.metrics()["overall"] == card["scores"]["overall"]["mean"]


# WISE.


class Marking:
    """A judge that likes what is red, and says so in the words of the verified or the legacy protocol."""

    name = "marking"

    def __init__(self, reply):
        self.reply, self.requests = reply, []

    def judge(self, images, requests):
        self.requests += requests
        return [self.reply for _ in images]


def wise_files(folder, count=2):
    folder.mkdir()
    for place, name in enumerate(wise.FILES):
        entries = [
            {
                "prompt_id": 400 * place + number + 1,
                "Prompt": "a red star",
                "Explanation": f"explanation {number}",
                "Category": name,
            }
            for number in range(count)
        ]
        (folder / f"{name}.json").write_text(json.dumps(entries))
    return folder


@pytest.mark.parametrize(
    ("protocol", "reply", "expected", "unparsed"),
    [
        ("verified", "Score: 1", 1.0, 0),
        ("verified", "**Score**: 0", 0.0, 0),
        ("verified", "It is fine.", 0.0, 6),
        ("legacy", "Consistency: 2\nRealism: 1\nAesthetic Quality: 0", (0.7 * 2 + 0.2) / 2, 0),
    ],
)
def test_wise_is_scored_by_the_marks_of_a_judge(protocol, reply, expected, unparsed, tmp_path):
    source = Source(wise_files(tmp_path / "data"), allow_other=True)
    run, judge = tmp_path / "run", Marking(reply)
    draw(Painter(), plan_of("wise", source), run)
    options = Options({}, protocol=protocol)
    card = score_folder(BENCHMARKS["wise"], run, run, kept_prompts(run), {"judge": judge}, options)
    assert card["scores"]["culture"]["mean"] == pytest.approx(expected)
    assert card["unparsed"] == unparsed
    assert card["left_out"] == {"missing prompts": 994}
    assert "overall" not in card["scores"]
    assert "a red star" in judge.requests[0]
    assert "explanation 0" in judge.requests[0]
    assert sorted(path.name for path in (run / "images").iterdir())[:2] == ["1.png", "2.png"]


def test_the_words_of_a_request_may_be_given(tmp_path):
    source = Source(wise_files(tmp_path / "data", 1), allow_other=True)
    run, judge, words = tmp_path / "run", Marking("Score: 1"), tmp_path / "words.txt"
    draw(Painter(), plan_of("wise", source), run)
    words.write_text("Mark {Prompt} by {Explanation}.")
    options = Options({"request": words})
    score_folder(BENCHMARKS["wise"], run, run, kept_prompts(run), {"judge": judge}, options)
    assert judge.requests[0] == "Mark a red star by explanation 0."
    words.write_text("Mark {Prompt}.")
    with pytest.raises(ValueError, match=r"expected a request with \{Explanation\}"):
        score_folder(BENCHMARKS["wise"], run, run, kept_prompts(run), {"judge": judge}, options)


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("score: 1", {"score": 1}),
        ("Score: 1\nScore: 0", {"score": None}),
        ("Score: 2", {"score": None}),
        ("Score: 10", {"score": None}),
        ("1", {"score": None}),
    ],
)
def test_a_mark_is_read_or_counted_as_unread(reply, marks):
    assert marks_of("verified", reply) == marks


def test_a_request_carries_the_prompt_and_its_explanation():
    facts = {"Prompt": "a pastry {x}", "Explanation": "a mooncake"}
    for protocol in ("verified", "legacy"):
        text = request_of(protocol, facts)
        assert "a pastry {x}" in text
        assert "a mooncake" in text
        assert "{Prompt}" not in text


# GenEval 2.


class Soft(OracleVQA):
    """Reads the questions through the words that GenEval 2 puts around them."""

    def mass(self, images, questions, spellings):
        plain = [
            question.removesuffix(" Answer in one word.")
            .replace('Does this image show "', "Does this image align with the prompt: ")
            .replace('"? Answer the question with Yes or No.', "?")
            for question in questions
        ]
        return super().mass(images, plain, spellings)


def test_geneval2_is_scored_by_the_probability_of_each_part(tmp_path):
    lines = [
        {
            "prompt": "two circles",
            "atom_count": 3,
            "vqa_list": [["How many circles are there?", "two"], ["Is there a star?", "Yes"]],
            "skills": ["count", "object"],
        },
        {
            "prompt": "a red star",
            "atom_count": 3,
            "vqa_list": [["Is there a star?", "Yes"]],
            "skills": ["object"],
        },
    ]
    path = tmp_path / geneval2.FILE
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = tmp_path / "run"
    draw(Painter(), plan_of("geneval2", Source(path, allow_other=True)), run)
    benchmark, prompts = BENCHMARKS["geneval2"], kept_prompts(run)
    card = score_folder(benchmark, run, run, prompts, {"soft": Soft()}, Options({}))
    low, high = 0.02, 0.98
    means = {name: leaf["mean"] for name, leaf in card["scores"].items()}
    assert means["soft_tifa_am"] == pytest.approx(100 * ((high + low) / 2 + high) / 2)
    assert means["soft_tifa_gm"] == pytest.approx(100 * ((high * low) ** 0.5 + high) / 2)
    assert means["skill count"] == pytest.approx(100 * high)
    whole = score_folder(benchmark, run, run, prompts, {"soft": Soft()}, Options({}, protocol="vqascore"))
    assert list(whole["scores"]) == ["vqascore"]
    assert whole["metric"] == "geneval2-vqascore@oracle"
    table = json.loads((run / "image_filepath_data.json").read_text())
    assert list(table) == ["two circles", "a red star"]


def test_wise_and_dpg_folders_of_others_are_read_too(dpg_run, dpg_files, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(dpg_run / "images", theirs)
    given = Options({"questions": dpg_files[1]}, allow_other=True)
    prompts = replace(kept_prompts(dpg_run))
    out = tmp_path / "out"
    card = score_folder(BENCHMARKS["dpg"], theirs, out, prompts, {"vqa": OracleVQA()}, given)
    assert card["scores"]["overall"]["mean"] == 100
    assert card["generation"] is None
    assert not (theirs / "card.json").exists()
