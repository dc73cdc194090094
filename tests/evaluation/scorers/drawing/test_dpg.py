"""DPG-Bench: the table of questions, both protocols, and what they leave out."""

from __future__ import annotations

import csv

import pytest

from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.drawing.dpg_questions import COLUMNS, Question, read_questions

SCORER = SCORERS["dpg"]
HEADER = ("item_id", "text", "keywords", "proposition_id", "dependency", "tuple", "question_natural_language")


def row(item, number, parents="0", what="entity - whole (dog)"):
    return [item, f"prompt {item}", "", number, parents, what, f"{item}, {number}?"]


# A chain 1 <- 2 <- 3 in item "a", and 4 that depends on nothing; item "b" has one question, item "c" two.
ROWS = (
    row("b", 1),
    row("a", 1),
    row("a", 2, "1"),
    row("a", 3, "0, 2", "attribute - color (dog, red)"),
    row("a", 4, what="global - (style)"),
    row("c", 1),
    row("c", 2, "1"),
)


def table(folder, rows=ROWS, header=HEADER):
    path = folder / "dpg_bench.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def record(item, *pictures):
    """Return a record of pictures, each a text of answers: "yn" is yes to question 1 and no to question 2."""
    said = {"y": "yes", "n": "no"}
    answers = [{str(i): said.get(x, x) for i, x in enumerate(each, start=1)} for each in pictures]
    return {"item_id": item, "answers": answers}


RECORDS = [record("a", "nyyy", "yyyn"), record("b", "y", "n"), record("c", "yy", "yn")]


@pytest.fixture
def questions(tmp_path):
    return read_questions(table(tmp_path))


def fixed(records, questions, **options):
    return SCORER.score(records, "fixed", questions=questions, pictures=2, **options)


def official(records, questions):
    return SCORER.score(records, "official", questions=questions, pictures=2)


def test_columns_are_found_by_their_names(tmp_path, questions):
    order = [5, 0, 3, 2, 6, 4, 1]
    shuffled = [[each[i] for i in order] for each in ROWS]
    assert read_questions(table(tmp_path, shuffled, [HEADER[i] for i in order])) == questions
    assert questions[3] == Question("a", 3, (2,), "attribute - color", "a, 3?")
    assert (questions[3].broad, questions[4].detailed, questions[4].broad) == (
        "attribute",
        "global -",
        "global",
    )


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, questions):
    path = table(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_questions(path) == questions


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (ROWS, [name.upper() for name in HEADER], "missing item_id, proposition_id.*got ITEM_ID"),
        (ROWS, [*HEADER[:4], "parents", *HEADER[5:]], "missing dependency; got item_id"),
        ([[*each, "0"] for each in ROWS], [*HEADER, "dependency"], "dependency more than once"),
        ([], HEADER, "expected questions, found none"),
        ([ROWS[0], row("a", "one")], HEADER, "line 3: proposition_id: expected whole numbers, got 'one'"),
        ([row("a", 1, "1;2")], HEADER, "line 2: dependency: expected whole numbers, got '1;2'"),
        ([row("a", 1)[:4]], HEADER, "line 2: expected something under dependency, tuple, question"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, rows, header, said):
    with pytest.raises(ValueError, match=said):
        read_questions(table(tmp_path, rows, header))


def test_files_that_are_no_table_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"name dpg_bench\.csv"):
        read_questions(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(",".join(COLUMNS).encode() + b"\n\xff,1,0,a,b\n")
    with pytest.raises(ValueError, match="expected csv in UTF-8"):
        read_questions(tmp_path / "latin.csv")


def test_what_depends_on_a_no_is_zero_and_so_on_down_the_table(questions):
    scored = fixed(RECORDS, questions)
    # a: 1 of 4 (2 and 3 fall with 1) and 3 of 4; b: 1 and 0; c: 1 and 1/2.
    assert scored.metrics()["overall"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 3 / 4) / 3)


def test_categories_are_of_answers_before_anything_was_set_to_zero(questions):
    metrics = fixed(RECORDS, questions).metrics()
    # Questions, each over two pictures: a1 1/2, a2 1, b1 1/2, c1 1, c2 1/2; a3 1; a4 1/2.
    assert metrics["L2 entity - whole"] == metrics["L1 entity"] == pytest.approx(70)
    assert metrics["L2 attribute - color"] == metrics["L1 attribute"] == 100
    assert metrics["L2 global -"] == metrics["L1 global"] == 50


def test_the_official_script_drops_the_first_question_and_looks_at_the_last_picture(questions):
    scored = official(RECORDS, questions)
    assert scored.left_out == {"items without a question": 1, "first question": 1}
    metrics = scored.metrics()
    assert metrics["overall"] == pytest.approx(100 * (1 / 2 + 3 / 4) / 2)
    assert metrics["L1 entity"] == pytest.approx(100 * 3 / 4)  # a1, a2, c1 and not c2
    assert metrics["L1 global"] == 0


def test_the_official_script_loses_items_that_depend_on_the_first_question(questions):
    scored = official(RECORDS, questions[1:])
    assert scored.left_out == {
        "items that lost a question": 1,
        "items without a question": 1,
        "first question": 1,
    }
    assert scored.metrics()["overall"] == 75


def test_a_parent_that_is_not_reached_is_not_missed(tmp_path):
    rows = [row("a", 1), row("a", 2), row("a", 3, "2,1"), row("b", 1)]
    records = [record("a", "nny", "yny"), record("b", "y", "y")]
    assert official(records, table(tmp_path, rows)).left_out == {"first question": 1}
    records[0] = record("a", "nny", "yyy")
    assert "items that lost a question" in official(records, table(tmp_path, rows)).left_out


def test_items_that_failed_are_left_out_officially_and_wrong_if_fixed(questions):
    records = [*RECORDS[:2], {"item_id": "c", "failed": "grid.png is cut short"}]
    theirs, ours = official(records, questions), fixed(records, questions)
    assert (theirs.failed, ours.failed) == (1, 1)
    assert theirs.left_out["prompts with a failed picture"] == 1
    assert theirs.metrics()["overall"] == 50
    assert ours.metrics()["overall"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 0) / 3)


def test_only_yes_counts_and_what_is_neither_is_counted(questions):
    scored = fixed([record("a", ["Yes", "y", "y", "y"], "yyyy"), *RECORDS[1:]], questions)
    assert scored.unparsed == 1
    assert scored.values[0] == 100 * (1 / 4 + 1) / 2


def test_only_the_first_pictures_count(questions):
    more = [{**each, "answers": each["answers"] + each["answers"][:1]} for each in RECORDS]
    assert fixed(more, questions).metrics() == fixed(RECORDS, questions).metrics()


def test_missing_items_are_refused_or_counted(questions):
    with pytest.raises(ValueError, match="dpg items: expected 3, got 2; missing 'c'"):
        fixed(RECORDS[:2], questions)
    assert fixed(RECORDS[:2], questions, allow_missing=True).left_out == {"missing items": 1}
    assert official(RECORDS[:2], questions).left_out["missing items"] == 1


def test_of_two_questions_with_one_number_the_later_counts(tmp_path):
    rows = [row("a", 1), row("a", 2), row("a", 2, what="other - count (dog, 2)")]
    scored = fixed([record("a", "yn", "yn")], table(tmp_path, rows))
    assert scored.left_out == {"repeated questions": 1}
    assert scored.metrics()["L1 other"] == 0


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([*RECORDS, RECORDS[0]], "dpg items: expected one record each, got several of 'a'"),
        ([*RECORDS, record("d", "y", "y")], "none but the benchmark's own, got 'd'"),
        (
            [record("a", "yyyy"), *RECORDS[1:]],
            "record of a: answers: expected mappings for 2 pictures, got 1",
        ),
        ([record("a", "yyyy", "yy"), *RECORDS[1:]], "record of a: expected answers to .* missing 3, 4"),
        ([{"answers": []}], "dpg record: expected a field 'item_id'"),
        ([{"item_id": "a"}, *RECORDS[1:]], "record of a: expected a field 'answers'"),
    ],
)
def test_bad_records_are_named(questions, records, said):
    with pytest.raises(ValueError, match=said):
        fixed(records, questions)


def test_a_parent_that_is_no_question_of_the_item_is_named(tmp_path):
    rows = [row("a", 1), row("a", 2, "7")]
    with pytest.raises(ValueError, match="question 2: expected it to depend on questions of its item, got 7"):
        fixed([record("a", "yy", "yy")], table(tmp_path, rows))


def test_nothing_left_to_score_is_no_score(questions):
    with pytest.raises(ValueError, match="expected something to score, got none; left out"):
        official([record("b", "y", "y")], questions)
