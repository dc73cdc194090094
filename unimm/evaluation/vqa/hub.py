"""Rows of the benchmarks as the data sets on the hub have them, which lmms-eval and Cambrian read.

The field names are those of `lmms-lab/...`, `MMMU/MMMU_Pro`, `derek-thomas/ScienceQA`, `Lin-Chen/MMStar` and
`MMVP/MMVP`; a folder of JSON lines or parquet with the same names is read alike.
"""

from __future__ import annotations

import re
from dataclasses import replace

from unimm.evaluation.vqa.questions import Question
from unimm.evaluation.vqa.rows import Row

_OPTION = re.compile(r"\([a-z]\)\s*([^(]+)")
_SUBJECT = re.compile(r"^[a-z]+_(.+)_\d+$")
SEED_TYPES = {
    1: "Scene Understanding", 2: "Instance Identity", 3: "Instance Attribute", 4: "Instance Location",
    5: "Instance Counting", 6: "Spatial Relation", 7: "Instance Interaction", 8: "Visual Reasoning",
    9: "Text Recognition", 10: "Action Recognition", 11: "Action Prediction", 12: "Procedure Understanding",
}  # fmt: skip


def mme(row: Row) -> Question:
    """MME: question_id is the picture's; the two questions about it are told apart by their row."""
    image = row.text("question_id")
    return Question(
        f"{image}#{row.number}", row.text("question"), row.text("answer"), row.picture(), image,
        category=row.text("category"),
    )  # fmt: skip


def pope(row: Row) -> Question:
    """POPE: question_id starts anew in each category."""
    category = row.text("category")
    own = f"{category}/{row.text('question_id')}"
    image = row.text_or("image_source", own)
    return Question(own, row.text("question"), row.text("answer"), row.picture(), image, category)


def textvqa(row: Row) -> Question:
    """TextVQA: ten answers, and the words that Rosetta read."""
    return Question(
        row.text("question_id"), row.text("question"), row.texts("answers"), row.picture(),
        row.text_or("image_id", row.text("question_id")),
        tokens=row.texts("ocr_tokens") if "ocr_tokens" in row.fields else (),
    )  # fmt: skip


def vqav2(row: Row) -> Question:
    """VQAv2: answers are records of their own; the category is their type."""
    answers = row.fields.get("answers")
    if not isinstance(answers, list) or not all(
        isinstance(each, dict) and "answer" in each for each in answers
    ):
        raise row.fail("answers", "a list of {answer, ...}")
    return Question(
        row.text("question_id"), row.text("question"), tuple(str(each["answer"]) for each in answers),
        row.picture(), row.text_or("image_id", row.text("question_id")), row.text_or("answer_type"),
    )  # fmt: skip


def gqa(row: Row) -> Question:
    """GQA: pictures are in a set of their own, by id."""
    image = row.text("imageId")
    picture = row.picture() if row.has("image") else row.pictures.get(image)
    return Question(row.text("id"), row.text("question"), row.text("answer"), picture, image)


def ai2d(row: Row) -> Question:
    """AI2D: no ids, and the right answer is an index."""
    options = row.texts("options")
    return Question(
        str(row.number), row.text("question"), _letter(row, row.whole("answer"), options), row.picture(),
        str(row.number), options=options,
    )  # fmt: skip


def seed(row: Row) -> Question:
    """SEED-Bench: a list of pictures; videos have several frames."""
    frames = row.listed_pictures()
    kind = row.whole("question_type_id")
    if kind not in SEED_TYPES:
        raise row.fail("question_type_id", f"1 to {len(SEED_TYPES)}")
    return Question(
        row.text("question_id"), row.text("question"), row.text("answer"), frames[0] if frames else None,
        row.text_or("data_id", row.text("question_id")), SEED_TYPES[kind],
        tuple(row.text(f"choice_{letter}") for letter in "abcd"), pictures=len(frames),
    )  # fmt: skip


def mmmu(row: Row) -> Question:
    """MMMU: options and several right answers are lists written in texts."""
    own = row.text("id")
    subject = _SUBJECT.match(own)
    if subject is None:
        raise row.fail("id", "such as validation_Accounting_1")
    answer = row.text("answer")
    choice = row.text("question_type") == "multiple-choice"
    gold = answer if choice else (row.texts("answer") if answer.startswith("[") else (answer,))
    numbered = [name for name in (f"image_{at}" for at in range(1, 8)) if row.fields.get(name) is not None]
    shown = tuple(picture for name in numbered if (picture := row.picture(name)) is not None)
    return Question(
        own, row.text("question"), gold, shown[0] if shown else None, own, subject[1],
        row.texts("options") if choice else None, pictures=len(shown), more=shown[1:],
    )  # fmt: skip


def mmmu_pro(row: Row) -> Question:
    """MMMU-Pro: the setting is the category; in "vision" the question stands in the picture."""
    vision = row.fields.get("image") is not None
    names = ["image"] if vision else [f"image_{at}" for at in range(1, 8)]
    shown = tuple(picture for name in names if (picture := row.picture(name)) is not None)
    question = Question(
        row.text("id"), "" if vision else row.text("question"), row.text("answer"),
        shown[0] if shown else None, row.text("id"), row.config or ("vision" if vision else "standard"),
        row.texts("options"), facts={"subject": row.text_or("subject")}, pictures=len(shown), more=shown[1:],
    )  # fmt: skip
    return replace(question, id=f"{question.category}/{question.id}")


def mmbench(row: Row) -> Question:
    """MMBench: rotations of a question have its index plus millions."""
    index = row.whole("index")
    source = str(index % 1_000_000)
    return Question(
        str(index), row.text("question"), row.text("answer"), row.picture(), source, row.text_or("category"),
        row.letters(), row.text_or("hint"), facts={"source": source},
    )  # fmt: skip


def scienceqa(row: Row) -> Question:
    """ScienceQA: half of the questions have no picture; the right answer is an index."""
    options, picture = row.texts("choices"), row.picture()
    return Question(
        str(row.number), row.text("question"), _letter(row, row.whole("answer"), options), picture,
        str(row.number), row.text_or("grade"), options, row.text_or("hint"),
        facts={"has_image": picture is not None},
    )  # fmt: skip


def chartqa(row: Row) -> Question:
    """ChartQA: no ids; the category is who asked."""
    gold = row.texts("answer") if row.text("answer").startswith("[") else (row.text("answer"),)
    category = row.text("type").removesuffix("_test")
    return Question(
        str(row.number), row.text("question"), gold, row.picture(), str(row.number), category
    )  # fmt: skip


def mmvp(row: Row) -> Question:
    """MMVP: "(a) Open (b) Closed", and neighbours are a pair; the index starts at 1."""
    name = "Index" if row.has("Index") else "lndex"  # so it is spelt in the published table
    index = row.whole(name)
    options = tuple(option.strip() for option in _OPTION.findall(row.text("Options")))
    return Question(
        str(index), row.text("Question"), row.text("Correct Answer").strip("() ").upper(), row.picture(),
        str(index), options=options, facts={"pair": str((index - 1) // 2)},
    )  # fmt: skip


def mmstar(row: Row) -> Question:
    """MMStar: the options stand in the question."""
    index = row.text("index")
    return Question(
        index, row.text("question"), row.text("answer"), row.picture(), index, row.text("category"),
        row.letters() or None, facts={"subcategory": row.text("l2_category")},
    )  # fmt: skip


def documents(row: Row) -> Question:
    """DocVQA, InfoVQA and ST-VQA: several right answers."""
    own = row.text("questionId" if "questionId" in row.fields else "question_id")
    image = row.text_or("docId", own)
    return Question(own, row.text("question"), row.texts("answers"), row.picture(), image)


def _letter(row: Row, index: int, options: tuple[str, ...]) -> str:
    if not 0 <= index < len(options):
        raise row.fail("answer", f"an index of {len(options)} options")
    return "ABCDEFGHIJ"[index]
