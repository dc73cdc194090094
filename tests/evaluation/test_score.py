"""Truth scores one, a planted defect lowers the task it breaks, and what is not right is counted."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.painter import (
    DEFECTS,
    ORACLES,
    Painter,
    draw,
    one_too_many,
    plan_of,
)
from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.card import headline, leaf_of, markdown, read_card
from unimm.evaluation.generate import Share
from unimm.evaluation.judges.oracle import Defects, OracleColors, OracleDetector
from unimm.evaluation.records import Records, append_lines
from unimm.evaluation.session import Options, kept_prompts, measured, score_folder
from unimm.world.spec import FAMILIES

WORLD = BENCHMARKS["world"]
PLAIN = Options({})


@pytest.fixture(scope="module")
def true_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("true") / "run"
    draw(Painter(), plan_of(), run)
    return run


@pytest.fixture
def run(true_run, tmp_path):
    return shutil.copytree(true_run, tmp_path / "run")


def scored(folder, out=None, judges=ORACLES, options=PLAIN, prompts=None, share=None):
    prompts = prompts or kept_prompts(folder)
    return score_folder(WORLD, folder, out or folder, prompts, judges, options, share)


def means(card) -> dict[str, float]:
    return {name: leaf["mean"] for name, leaf in card["scores"].items()}


class Counting:
    """A detector that counts the pictures it is shown."""

    name = "oracle"

    def __init__(self, patience: int | None = None):
        self.seen, self.patience = 0, patience

    def detect(self, images):
        if self.patience is not None and self.seen >= self.patience:
            raise KeyboardInterrupt
        self.seen += len(images)
        return OracleDetector().detect(images)


def test_true_renders_score_one_in_every_task_and_overall(run):
    card = scored(run)
    assert set(means(card).values()) == {1.0}
    assert set(FAMILIES) | {"overall"} <= card["scores"].keys()
    assert card["n"] == 12
    assert card["metric"] == "world@oracle"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["held_in", "held_out"])
def test_a_planted_defect_lowers_the_task_it_breaks_and_no_other(family, split, tmp_path):
    draw(Painter(DEFECTS[family]), plan_of(source=Source(limit=6, split=split)), tmp_path)
    card = scored(tmp_path)
    for task in FAMILIES:
        assert means(card)[task] == (0 if task == family else 1), task
    assert means(card)["overall"] == pytest.approx(5 / 6)


def test_one_too_many_is_as_wrong_as_one_too_few(tmp_path):
    draw(Painter(one_too_many), plan_of(), tmp_path)
    assert means(scored(tmp_path))["counting"] == 0


def test_a_judge_with_defects_shows_too(run, tmp_path):
    blind = {"detector": OracleDetector(Defects(miss=1.0)), "classifier": OracleColors()}
    assert means(scored(run, tmp_path / "blind", blind))["overall"] == 0
    colourblind = {"detector": OracleDetector(), "classifier": OracleColors(wrong=1.0)}
    found = means(scored(run, tmp_path / "colourblind", colourblind))
    assert {task for task in FAMILIES if found[task] == 0} == {"colors", "color_attr"}


def test_no_picture_is_judged_twice(run):
    detector = Counting()
    judges = {**ORACLES, "detector": detector}
    first = scored(run, judges=judges)
    assert detector.seen == 12
    second = scored(run, judges=judges)
    assert detector.seen == 12
    assert means(first) == means(second)
    lines = (run / "records.jsonl").read_text().splitlines()
    assert len(lines) == 12


def test_judging_that_was_cut_off_goes_on_where_it_stopped(run):
    options = Options({}, batch_size=3)
    cut = Counting(patience=6)
    with pytest.raises(KeyboardInterrupt):
        scored(run, judges={**ORACLES, "detector": cut}, options=options)
    with (run / "records.jsonl").open("a") as file:
        file.write('{"item": 9, "sam')  # killed while writing
    rest = Counting()
    card = scored(run, judges={**ORACLES, "detector": rest}, options=options)
    assert (cut.seen, rest.seen) == (6, 6)
    assert means(card)["overall"] == 1


def test_shares_judge_apart_and_the_last_writes_the_card(run):
    first, second = Counting(), Counting()
    assert scored(run, judges={**ORACLES, "detector": first}, share=Share(0, 2)) is None
    assert not (run / "card.json").exists()
    card = scored(run, judges={**ORACLES, "detector": second}, share=Share(1, 2))
    assert means(card)["overall"] == 1
    assert (first.seen, second.seen) == (6, 6)
    assert len(Records(run / "records.jsonl").read()) == 12


def test_another_judge_makes_other_records_and_another_metric(run):
    scored(run)
    other = OracleDetector(Defects(miss=1.0))
    other.name = "blind"
    card = scored(run, judges={**ORACLES, "detector": other})
    assert card["metric"] == "world@blind+oracle"
    assert means(card)["overall"] == 0
    assert len((run / "records.jsonl").read_text().splitlines()) == 24
    assert means(scored(run))["overall"] == 1


def test_a_picture_drawn_anew_is_judged_anew(run):
    scored(run)
    path = run / "images" / "00000" / "samples" / "00000.png"
    Image.new("RGB", (80, 80), "#d4c29c").save(path)
    detector = Counting()
    card = scored(run, judges={**ORACLES, "detector": detector})
    assert detector.seen == 1
    assert means(card)["single_object"] == 0.5


def test_a_record_that_is_there_twice_is_an_error(run):
    scored(run)
    path = run / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[3]]))
    with pytest.raises(ValueError, match=r"record 13: expected every picture once, but sample 0 of prompt 3"):
        scored(run)


def test_a_damaged_record_is_named_by_its_line(run):
    scored(run)
    path = run / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "not json\n", *lines[4:]]))
    with pytest.raises(ValueError, match=r"records\.jsonl, line 5: expected JSON"):
        scored(run)
    path.write_text("".join([*lines[:4], '{"item": 1}\n', *lines[4:]]))
    with pytest.raises(ValueError, match="record 5: expected a record with item, sample, digest"):
        scored(run)


def test_holes_are_an_error_unless_allowed_and_then_counted(run):
    for name in ("00001", "00002"):
        shutil.rmtree(run / "images" / name)
    with pytest.raises(ValueError, match=r"2 pictures are missing: '00001/', '00002/'"):
        scored(run)
    card = scored(run, options=Options({}, allow_missing=True))
    assert card["missing"] == 2
    assert card["n"] == 10
    assert card["left_out"] == {"missing pictures": 2}
    assert "n = 10 pictures" in markdown(card)
    assert "missing pictures 2" in markdown(card)


def test_too_many_pictures_are_an_error_unless_allowed_and_then_counted(run):
    samples = run / "images" / "00004" / "samples"
    shutil.copy(samples / "00000.png", samples / "00001.png")
    shutil.copytree(run / "images" / "00004", run / "images" / "00777")
    with pytest.raises(ValueError, match=r"2 files or folders belong to no prompt: '00777/', '00004/samples"):
        scored(run)
    card = scored(run, options=Options({}, allow_extra=True))
    assert (card["extra"], card["n"]) == (2, 12)


def test_a_picture_cut_short_is_counted_as_failed_and_wrong(run):
    path = run / "images" / "00006" / "samples" / "00000.png"
    path.write_bytes(path.read_bytes()[:-100])
    card = scored(run)
    assert card["failed"] == 1
    assert card["n"] == 12
    assert means(card)["single_object"] == 0.5
    assert "cut short" in (run / "card.html").read_text()


def test_metadata_of_other_prompts_is_refused(run):
    path = run / "images" / "00001" / "metadata.jsonl"
    line = json.loads(path.read_text())
    line["include"][0]["class"] = "zebra"
    path.write_text(json.dumps(line))
    with pytest.raises(ValueError, match="these pictures belong to other prompts"):
        scored(run)


def test_pictures_of_another_project_are_scored_without_a_model(run, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(run / "images", theirs)
    for folder in theirs.iterdir():  # four digits, as GenEval's README has it, and no grid
        (folder / "grid.png").unlink()
        (folder / "samples" / "00000.png").rename(folder / "samples" / "0000.png")
        folder.rename(theirs / folder.name[1:])
    card = scored(theirs, tmp_path / "out", prompts=kept_prompts(run))
    assert means(card)["overall"] == 1
    assert card["generation"] is None
    assert card["prompts"]["template"] == "unknown"
    assert sorted(path.name for path in theirs.iterdir()) == [f"{index:04d}" for index in range(12)]
    assert measured(tmp_path / "out").scored.metrics()["overall"] == 1


def test_a_folder_that_is_not_there_is_named(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="no folder of pictures"):
        scored(tmp_path / "nowhere", prompts=kept_prompts(run))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none of them"):
        scored(tmp_path / "empty", prompts=kept_prompts(run), options=Options({}, allow_missing=True))


def test_the_card_says_all_that_was_measured(run):
    card = scored(run)
    assert card == read_card(run)
    assert headline(card) == "overall"
    assert card["scores"]["overall"]["n"] == 12
    assert leaf_of(card, "counting").n == 2
    assert card["prompts"]["sha256"]
    assert card["prompts"]["template"] == "{prompt}"
    assert card["prompts"]["rewritten"] is False
    assert card["resolution"] == ["80x80"]
    assert card["scorer"] == {"name": "geneval", "version": 1, "protocol": "official", "rules": {}}
    made = card["generation"]
    assert (made["seed"], made["samples"], made["sampling"]["steps"]) == (0, 1, 2)
    assert made["model"]["dtype"] == "float32"
    assert made["software"]["torch"]
    page = (run / "card.html").read_text()
    assert page.count("data:image/png;base64,") == 12
    assert "http" not in page.replace("https://github", "")
    for word in (
        "world@oracle",
        "100.0 [100.0, 100.0]",
        "a photo of",
        "generation.sampling.steps",
        "weights",
    ):
        assert word in page


def test_a_page_tells_wrong_from_right(tmp_path):
    draw(Painter(DEFECTS["counting"]), plan_of(), tmp_path)
    scored(tmp_path)
    page = (tmp_path / "card.html").read_text()
    assert page.count('<figure class="wrong">') == 2
    assert page.count('<figure class="right">') == 10
    assert "found 1" in page or "found 2" in page or "found 3" in page


def test_an_unknown_file_option_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="--questions: world has no use for it"):
        scored(run, options=Options({"questions": tmp_path}))


def test_records_refuse_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        append_lines(tmp_path / "x.jsonl", [{"score": float(np.nan)}])


class Blind:
    """A detector that knows other things, and one that does not say what it knows."""

    def __init__(self, labels=None):
        self.name = "blind"
        if labels is not None:
            self.labels = labels

    def detect(self, images):
        return OracleDetector(Defects(miss=1.0)).detect(images)


def test_a_detector_that_can_name_none_of_the_things_asked_for_is_refused(run):
    items = kept_prompts(run).items
    asked = {clause["class"] for item in items for clause in item.facts["include"]}
    with pytest.raises(
        ValueError, match=r"--detector: blind knows 2 classes, not .*12 of 12 prompts"
    ) as told:
        scored(run, judges=ORACLES | {"detector": Blind(("dog", "cat"))})
    assert all(f"{name!r}" in str(told.value) for name in sorted(asked)[:5])
    assert not (run / "records.jsonl").exists()
    assert means(scored(run, judges=ORACLES | {"detector": Blind()}))["overall"] == 0


def test_a_classifier_without_a_colour_asked_for_is_refused(run):
    classifier = OracleColors()
    classifier.palette = ("red", "orange")
    with pytest.raises(ValueError, match="--classifier: oracle knows 2 colours, not "):
        scored(run, judges=ORACLES | {"classifier": classifier})


def test_numbers_of_the_rules_change_the_score_and_its_name(run):
    card = scored(run, options=Options({}, rules={"threshold": 0.985, "max_objects": 16}))
    assert card["metric"] == "world(threshold=0.985)@oracle"
    assert card["scorer"]["rules"] == {"threshold": 0.985}  # that the oracle's 0.98 does not reach
    assert {name for name, mean in means(card).items() if mean} == {
        "counting",
        "image_accuracy",
        "prompt_accuracy",
        "overall",
    }
    assert measured(run).scored.metrics() == pytest.approx(means(card))
    counted = Counting()
    assert scored(run, judges=ORACLES | {"detector": counted})["metric"] == "world@oracle"
    assert counted.seen == 12  # other rules colour other things, so nothing is taken over


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"treshold": 0.5}, "did you mean 'threshold'"),
        ({"threshold": 3}, "--rule threshold: expected a number from 0.0 to 1.0, got 3"),
        ({"max_objects": 2.5}, "--rule max_objects: expected a whole number from 1"),
    ],
)
def test_rules_that_are_none_are_refused(run, rules, said):
    with pytest.raises(ValueError, match=said):
        scored(run, options=Options({}, rules=rules))


def test_what_is_wrong_is_told_before_a_judge_is_loaded(run):
    def judges():
        raise AssertionError("loaded")

    with pytest.raises(ValueError, match="--protocol: expected one of official, verdicts, got 'oficial'"):
        scored(run, judges=judges, options=Options({}, protocol="oficial"))
    shutil.rmtree(run / "images" / "00001")
    with pytest.raises(ValueError, match="1 pictures are missing"):
        scored(run, judges=judges)


def test_how_others_worded_their_prompts_is_not_claimed(run, tmp_path):
    card = scored(run / "images", tmp_path / "card", prompts=kept_prompts(run))
    assert (card["prompts"]["template"], card["prompts"]["rewritten"]) == ("unknown", "unknown")
    assert "rewritten or not: unknown" in markdown(card)
    assert "prompts as published" in markdown(scored(run))
