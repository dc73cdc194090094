"""Every judge can be had by name, keeps its protocol, and says whether it ever ran on its real weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimm.evaluation.judges import KINDS, Detections, YesNoVQA
from unimm.evaluation.judges.own import OwnVQA
from unimm.evaluation.judges.table import JUDGES, NEVER, load_judge
from unimm.world.render import render
from unimm.world.scene import Scene, Thing


def test_every_kind_has_judges_that_have_its_methods():
    assert list(JUDGES) == list(KINDS)
    for kind, table in JUDGES.items():
        assert table
        wanted = {
            name
            for name in vars(KINDS[kind])
            if not name.startswith("_") and callable(vars(KINDS[kind])[name])
        }
        for entry in table.values():
            assert wanted <= set(dir(entry.make)), entry


def test_judges_on_other_peoples_weights_say_that_they_never_ran_on_them():
    said = {name: entry.run_on_real_weights for table in JUDGES.values() for name, entry in table.items()}
    assert {name for name, status in said.items() if status == NEVER} == {
        "mask2former", "clip", "siglip", "vlm", "endpoint",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("detectors", "oracle", "did you mean 'detector'"),
        ("detector", "mask2fomer:x", "did you mean 'mask2former'"),
        ("detector", "mask2former", "expected mask2former:FOLDER or hub id, got 'mask2former'"),
        ("detector", "oracle:x", "expected oracle, got 'oracle:x'"),
    ],
)
def test_a_wrong_name_is_refused_and_the_right_one_suggested(kind, spec, said):
    with pytest.raises(ValueError, match=said):
        load_judge(kind, spec)


@pytest.mark.parametrize("source", ["/no/such/folder", "nothing", "tiny"])
def test_a_folder_that_is_not_there_is_named(source):
    with pytest.raises(FileNotFoundError, match=f"judge: expected a folder, .*there is no '{source}'"):
        load_judge("detector", f"mask2former:{source}")


def test_an_endpoint_is_had_by_model_and_url():
    judge = load_judge("judge", "endpoint:org/Big-1B@http://localhost:8000/v1")
    assert judge.name == "big-1b"
    assert judge.url == "http://localhost:8000/v1/chat/completions"


def test_what_is_offered_goes_to_those_who_take_it(tmp_path):
    offered = {"device": "meta", "cache": tmp_path / "replies.jsonl"}
    assert load_judge("judge", "endpoint:m@http://localhost/v1", offered).asked.path == offered["cache"]
    assert load_judge("detector", "oracle", offered).name == "oracle"
    assert load_judge("yes_no", "own:tiny", offered | {"device": "cpu"}, name="me").name == "me"


def test_tiny_answers_about_the_world():
    judge = load_judge("yes_no", "own:tiny", batch_size=3)
    assert isinstance(judge, YesNoVQA)
    assert judge.name == "unimm-tiny"
    shapes = ("circle", "square", "star", "heart")
    images = [Image.fromarray(render(Scene("sky", (Thing(s, "red", 0.5, 0.5, 0.19),)), 80)) for s in shapes]
    assert judge.ask(images, [f"Is there a {shape}?" for shape in shapes]) == ["yes"] * 4
    assert set(judge.ask(images, ["Is there a moon?"] * 4)) == {"no"}
    assert len(judge.judge(images, ["How many things are there?"] * 4)) == 4


def test_a_model_that_is_given_must_be_named():
    with pytest.raises(ValueError, match="name: expected one"):
        OwnVQA(object())


def test_detections_of_unequal_lengths_are_refused():
    masks = np.zeros((2, 4, 5), bool)
    assert len(Detections(np.zeros((2, 4)), np.zeros(2), ("a", "b"), masks)) == 2
    for wrong in (
        (np.zeros((1, 4)), np.zeros(2), ("a", "b"), masks),
        (np.zeros((2, 4)), np.zeros(2), ("a",), masks),
        (np.zeros((2, 4)), np.zeros(2), ("a", "b"), masks.astype(int)),
    ):
        with pytest.raises(ValueError, match="detections: expected"):
            Detections(*wrong)


def test_the_page_of_judges_tells_what_the_table_tells():
    page = (Path(__file__).parents[3] / "docs" / "judges.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")][2:]
    said = [[cell.replace("`", "") for cell in row] for row in rows]
    assert said == [
        [kind, f"{name}:{entry.sources}".rstrip(":"), entry.official, entry.run_on_real_weights]
        for kind, table in JUDGES.items()
        for name, entry in table.items()
    ]


def test_a_unimm_says_how_likely_an_answer_is():
    judge = load_judge("soft", "own:tiny", batch_size=2)
    scenes = [Scene("sky", (Thing(shape, "red", 0.5, 0.5, 0.2),)) for shape in ("circle", "star", "heart")]
    images = [Image.fromarray(render(scene, 80)) for scene in scenes]
    prompts = ["a red circle", "a blue star", "a red heart"]
    questions = [judge.model.config.settings.chat.verifier_question.format(prompt=text) for text in prompts]
    said = {word: np.array(judge.mass(images, questions, [spelt(word)] * 3)) for word in ("yes", "no")}
    # the share of yes in both is what the model's own verifier reads off its logits
    share = said["yes"] / (said["yes"] + said["no"])
    assert share == pytest.approx(judge.model.verify(images, prompts, "p_yes"), abs=1e-5)
    assert (said["yes"] > 0.5).tolist() == [True, False, True]
    assert judge.mass(images, questions, [["yes", "yes"]] * 3) == judge.mass(images, questions, [["yes"]] * 3)
    with pytest.raises(ValueError, match="spellings: expected one or more words"):
        judge.mass(images[:1], questions[:1], [[]])


def spelt(word: str) -> list[str]:
    """Return every spelling that the model's verifier counts."""
    forms = (word, word.capitalize(), word.upper())
    return [text for form in forms for text in (form, f" {form}")]
