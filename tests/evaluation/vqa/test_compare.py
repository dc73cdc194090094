"""Two models asked the same: differences are paired, flips are shown, what differs else is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.evaluation.vqa.people import Person, one_who_knows, silent
from unimm.evaluation.bootstrap import Leaf
from unimm.evaluation.compare import compare
from unimm.evaluation.comparison import table, verdict, write_comparison
from unimm.evaluation.vqa.runner import Settings, run

POPE = Settings("pope", "world", limit=6)


def asked(folder, settings=POPE, person=None):
    run(person or one_who_knows(settings), settings, folder, say=silent)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return asked(folder / "knows"), asked(folder / "nods", person=Person(lambda image, prompt: "yes"))


def test_the_difference_is_that_of_the_same_questions(pair):
    found = compare(*pair)
    assert found.differences["accuracy"] == Leaf(-0.5, -0.5, -0.5, 12)  # of each picture one answer is lost
    assert verdict(found.differences["accuracy"]) == "difference"
    assert verdict(found.differences["recall"]) == "noise"
    last = table(found).splitlines()[-3]
    assert [cell.strip() for cell in last.split("|")[1:4]] == ["accuracy", "100.0", "50.0"]


def test_answers_that_flipped_are_shown_with_their_pictures(pair, tmp_path):
    found = compare(*pair)
    assert len(found.flips) == 6
    assert {(flip.before.score, flip.after.score) for flip in found.flips} == {(1.0, 0.0)}
    assert {flip.after.reason for flip in found.flips} == {"said: yes\nright: no"}
    page = write_comparison(found, tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 12
    assert "12 questions; 6 flipped: 0 to right, 6 to wrong" in page


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"limit": 5}, "questions: 12 and 10"),
        ({"seed": 1}, r"questions \(sha256\)"),
        ({"protocol": "cambrian"}, "metric: 'world-pope@official' and 'world-pope@cambrian'"),
        ({"unparsed": "first"}, "policy for unparsed answers: 'wrong' and 'first'"),
        ({"bench": "mme"}, "metric: 'world-pope@official' and 'world-mme@official'"),
    ],
)
def test_what_does_not_compare_is_refused_with_the_reason(pair, change, reason, tmp_path):
    settings = Settings(**{"bench": "pope", "data": "world", "limit": 6, **change})
    with pytest.raises(ValueError, match=f"do not compare: .*{reason}"):
        compare(pair[0], asked(tmp_path / "other", settings))


def test_records_that_changed_since_the_card_are_refused(pair, tmp_path):
    changed = shutil.copytree(pair[0], tmp_path / "changed")
    lines = (changed / "records.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "prediction": "perhaps not"})
    (changed / "records.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="the records do not give the card's numbers"):
        compare(changed, pair[0])


def test_pictures_and_answers_do_not_compare(pair, tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"format": 2, "benchmark": "geneval"}))
    with pytest.raises(ValueError, match="do not compare: benchmark: 'pope' and 'geneval'"):
        compare(pair[0], tmp_path)


def test_data_that_is_gone_leaves_the_words(tmp_path):
    from tests.evaluation.vqa.test_sources import world_rows, write_lines

    data = write_lines(tmp_path / "data", world_rows("pope", 2))
    settings = Settings("pope", str(data))
    one = asked(tmp_path / "one", settings)
    other = asked(tmp_path / "other", settings, Person(lambda image, prompt: "no"))
    shutil.rmtree(data)
    found = compare(one, other)
    assert [flip.before.image for flip in found.flips] == [None, None]
    assert "cannot be shown" in write_comparison(found, tmp_path / "page.html").read_text()
