"""From questions to a card: whole, cut off, and shared among ranks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.evaluation.vqa.people import Person, lines, one_who_knows, silent
from unimm.evaluation.generate import Share
from unimm.evaluation.vqa import card as cards
from unimm.evaluation.vqa import runner
from unimm.evaluation.vqa.asking import parts
from unimm.evaluation.vqa.runner import Settings, run
from unimm.evaluation.vqa.tasks import TASKS
from unimm.evaluation.vqa.world import MAKERS

TOP = {"mme": "perception (4 of 10)", "docvqa": "anls", "infovqa": "anls", "stvqa": "anls"}


@pytest.mark.parametrize("bench", MAKERS)
def test_who_knows_the_answers_has_full_marks(bench, tmp_path):
    settings = Settings(bench, "world", limit=8, batch_size=3)
    card = run(one_who_knows(settings), settings, tmp_path, say=silent)
    score = card["scores"][TOP.get(bench, "accuracy")]["mean"]
    if bench in ("textvqa", "vqav2"):
        assert 0.5 < score <= 1  # annotators do not always agree
    else:
        assert score == (800 if bench == "mme" else 1)
    assert (card["failed"], card["unparsed"]) == (0, 0)
    assert json.loads((tmp_path / "card.json").read_text()) == card
    assert "<img" in (tmp_path / "card.html").read_text()


@pytest.mark.parametrize("bench", MAKERS)
def test_every_protocol_asks_and_scores(bench, tmp_path):
    for protocol in TASKS[bench].asking:
        settings = Settings(bench, "world", protocol, limit=4)
        card = run(one_who_knows(settings), settings, tmp_path / protocol, say=silent)
        assert card["metric"] == f"world-{bench}@{protocol}"
        assert card["unparsed"] == 0, protocol


def test_a_record_says_what_was_asked_and_of_what(tmp_path):
    settings = Settings("mme", "world", "cambrian", limit=1)
    run(one_who_knows(settings), settings, tmp_path, say=silent)
    record = json.loads(lines(tmp_path / "records.jsonl")[0])
    assert record["prompt"].endswith("?\nAnswer the question using a single word or phrase.")
    assert set(record) == {"id", "image", "gold", "category", "prompt", "image_sha256", "prediction"}
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["template"] == "{question}\nAnswer the question using a single word or phrase."
    assert (said["decoding"], said["max_new_tokens"], said["protocol"]) == ("greedy", 32, "cambrian")


def test_nothing_is_asked_twice(tmp_path):
    settings = Settings("mme", "world", limit=6, batch_size=4)
    person = one_who_knows(settings)
    first = run(person, settings, tmp_path, say=silent)
    asked, before = len(person.asked), lines(tmp_path / "records.jsonl")
    again = run(person, settings, tmp_path, say=silent)
    assert len(person.asked) == asked == 3
    assert lines(tmp_path / "records.jsonl") == before
    assert first["scores"] == again["scores"]


@pytest.mark.parametrize("kept", [0, 1, 5, 7, 11])
@pytest.mark.parametrize("torn", ["", '{"id": "cou'])
def test_a_run_that_was_cut_off_goes_on_with_the_same_batches(kept, torn, tmp_path):
    settings = Settings("mme", "world", limit=6, batch_size=4)
    person = one_who_knows(settings)
    run(person, settings, tmp_path, say=silent)
    path, batches = tmp_path / "records.jsonl", list(person.asked)
    whole = lines(path)
    path.write_text("".join(line + "\n" for line in whole[:kept]) + torn)
    (tmp_path / "card.json").unlink()
    person.asked.clear()
    run(person, settings, tmp_path, say=silent)
    assert lines(path) == whole
    assert person.asked == batches[kept // 4 :]


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_change_no_answer_and_no_batch(ranks, tmp_path):
    settings = Settings("pope", "world", limit=9, batch_size=4)
    alone, together = one_who_knows(settings), one_who_knows(settings)
    card = run(alone, settings, tmp_path / "alone", say=silent)
    order = [1, 0, *range(2, ranks)]
    cards = [
        run(together, settings, tmp_path / "all", share=Share(rank, ranks), say=silent) for rank in order
    ]
    assert cards[:-1] == [None] * (ranks - 1)
    assert cards[-1]["scores"] == card["scores"]
    assert sorted(together.asked) == sorted(alone.asked)
    one = lines(tmp_path / "alone" / "records.jsonl")
    other = [line for path in (tmp_path / "all").glob("records*.jsonl") for line in lines(path)]
    assert sorted(one) == sorted(other)


def test_a_run_is_one_model_and_one_way_of_asking(tmp_path):
    settings = Settings("mme", "world", limit=2)
    run(one_who_knows(settings), settings, tmp_path, say=silent)
    for other in (
        Settings("mme", "world", limit=3),
        Settings("mme", "world", "cambrian", limit=2),
        Settings("mme", "world", limit=2, batch_size=2),
        Settings("mme", "world", limit=2, seed=1),
    ):
        with pytest.raises(ValueError, match="there is a run with other settings"):
            run(one_who_knows(other), other, tmp_path, say=silent)


def test_scoring_policies_need_no_new_answers(tmp_path):
    settings = Settings("ai2d", "world", limit=8)
    person = Person(lambda image, prompt: "no idea")
    wrong = run(person, settings, tmp_path, say=silent)
    first = run(person, Settings("ai2d", "world", limit=8, unparsed="first"), tmp_path, say=silent)
    assert len(person.asked) == 1
    assert (wrong["unparsed"], first["unparsed"]) == (8, 8)
    assert wrong["scores"]["accuracy"]["mean"] == 0
    assert (wrong["policy"], first["policy"]) == ("wrong", "first")


def test_a_question_that_the_model_refuses_fails_alone(tmp_path):
    def answers(image, prompt):
        if "star" in prompt:
            raise ValueError("prompt: it fills the context")
        return "no"

    settings = Settings("pope", "world", limit=12, batch_size=5)
    said: list[str] = []
    card = run(Person(answers), settings, tmp_path, say=said.append)
    refused = [line for line in lines(tmp_path / "records.jsonl") if "the model refused" in line]
    assert 0 < len(refused) == card["failed"] < card["n"] == 24
    assert f"failed {card['failed']}" in said[0]
    assert card["errors"] == {"the model refused: prompt: it fills the context": card["failed"]}
    assert card["scores"]["accuracy"]["n"] == 24


def test_a_model_that_answers_nothing_is_an_error(tmp_path):
    def answers(image, prompt):
        raise ValueError("out of order")

    settings = Settings("pope", "world", limit=2)
    with pytest.raises(ValueError, match="none of 4 questions was answered; the first: the model ref"):
        run(Person(answers), settings, tmp_path, say=silent)


def test_two_runs_in_one_folder_are_noticed(tmp_path):
    settings = Settings("pope", "world", limit=2)
    run(one_who_knows(settings), settings, tmp_path, say=silent)
    line = json.loads(lines(tmp_path / "records.jsonl")[0]) | {"prediction": "otherwise"}
    (tmp_path / "records-00001.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="was answered before, and differently"):
        run(one_who_knows(settings), settings, tmp_path, say=silent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bench": "mmee"}, "--bench: expected one of .* got 'mmee'; did you mean 'mme'"),
        ({"protocol": "cambrain"}, "--protocol: .*did you mean 'cambrian'"),
        ({"batch_size": 0}, "--batch-size"),
        ({"limit": 0}, "--limit"),
        ({"pictures": "al"}, "--pictures: .*did you mean 'all'"),
        ({"unparsed": "randm"}, "--unparsed: .*did you mean 'random'"),
        ({"bench": "textvqa", "unparsed": "random"}, "--unparsed: answers to textvqa are free texts"),
        ({"ocr": True}, "--ocr: mme has no prompt with OCR tokens under protocol 'official'"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Settings(**{"bench": "mme", "data": "world", **change})


def test_tokens_are_in_the_prompt_as_the_protocol_or_the_user_says():
    way = {
        (protocol, ocr): Settings("textvqa", "world", protocol, ocr=ocr).with_tokens
        for protocol in ("cambrian", "lmms_eval")
        for ocr in (None, True, False)
    }
    assert [each for each, tokens in way.items() if tokens] == [
        ("cambrian", None), ("cambrian", True), ("lmms_eval", True),
    ]  # fmt: skip
    template = runner.identity(Settings("textvqa", "world", "cambrian"), _no_data(), {})["template"]
    assert template == "{question}\nReference OCR tokens: {tokens}\n" + (
        "Answer the question using a single word or phrase."
    )


def _no_data():
    from unimm.evaluation.vqa.sources import Data

    return Data(lambda: iter(()), lambda row: None, {"kind": "none"})


def test_the_page_marks_what_is_right_and_what_is_wrong(tmp_path):
    settings = Settings("mme", "world", limit=4)
    card = run(Person(lambda image, prompt: "yes"), settings, tmp_path, say=silent)
    page = (tmp_path / "card.html").read_text()
    assert (page.count("&#10003;"), page.count("&#10007;")) == (4, 4)
    assert (card["headline"], card["scores"][card["headline"]]["n"]) == ("perception (4 of 10)", 8)
    assert card["scores"]["existence"]["n"] == 2
    assert f"| {card['headline']}" in cards.table(card).splitlines()[-4 - len(card["notes"])]
    assert "50.0 [50.0, 50.0]" in cards.table(card)  # of accuracy, in per cent beside points
    assert "1 pictures" not in page


class Chatty(Person):
    """Has UniMM's chat as well; keeps what it was shown."""

    def __init__(self):
        super().__init__(lambda image, prompt: "A")
        self.chats: list[tuple[list, dict]] = []

    def chat(self, messages, **options):
        self.chats.append((messages[0]["content"], options))
        return SimpleNamespace(text="A")


def two_pictures(pictures: str | None, protocol: str, folder) -> tuple[Chatty, dict]:
    """Ask a question of MMMU with two pictures."""
    (folder / "data").mkdir(parents=True)
    for name, colour in (("1.png", "red"), ("2.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(folder / "data" / name)
    row = {
        "id": "validation_Art_1", "question": "Which of <image 1> and <image 2>?", "options": "['x', 'y']",
        "question_type": "multiple-choice", "answer": "A", "image_1": "1.png", "image_2": "2.png",
    }  # fmt: skip
    (folder / "data" / "test.jsonl").write_text(json.dumps(row) + "\n")
    settings, person = Settings("mmmu", str(folder / "data"), protocol, pictures=pictures), Chatty()
    return person, run(person, settings, folder / "out", say=silent)


def test_several_pictures_are_shown_where_the_question_names_them(tmp_path):
    person, card = two_pictures(None, "official", tmp_path)
    ((content, options),) = person.chats
    assert [part["type"] for part in content] == ["text", "image", "text", "image", "text"]
    assert [part["image"].getpixel((0, 0)) for part in content[1::2]] == [(255, 0, 0), (0, 0, 255)]
    assert [part["text"] for part in content[:4:2]] == ["Which of ", " and "]
    assert content[4]["text"].startswith("?\n\nA. x\nB. y")
    assert options == {"max_new_tokens": 512, "max_images": 0}
    assert "1 questions with several pictures were asked with all of them" in cards.table(card)
    assert card["run"]["pictures"] == "all"


@pytest.mark.parametrize(("pictures", "protocol"), [("first", "official"), (None, "cambrian")])
def test_the_first_picture_alone_is_shown_where_that_is_asked_for(pictures, protocol, tmp_path):
    person, card = two_pictures(pictures, protocol, tmp_path)
    assert (person.chats, len(person.asked)) == ([], 1)
    assert "asked with the first of them" in cards.table(card)


def test_pictures_that_no_tag_names_stand_first():
    assert parts("What?", ["a", "b"]) == [
        {"type": "image", "image": "a"},
        {"type": "image", "image": "b"},
        {"type": "text", "text": "What?"},
    ]
    assert [part.get("image", part.get("text")) for part in parts("<image 2> and <image 9>", ["a", "b"])] == [
        "a",
        "b",
        " and <image 9>",
    ]
