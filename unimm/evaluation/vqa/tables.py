"""Rows of the benchmarks as VLMEvalKit's tables have them: index, image in base64, question, answer, A, B.

Source: https://github.com/open-compass/VLMEvalKit (e8e78f0, `vlmeval/dataset/image_*.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from unimm.evaluation.vqa.questions import Question
from unimm.evaluation.vqa.rows import Row

Schema = Callable[[Row], Question]

MD5 = {
    "b36b43c3f09801f5d368627fb92187c3": "MME",
    "c12f5acb142f2ef1f85a26ba2fbe41d5": "POPE",
    "b233b31f551bbf4056f2f955da3a92cd": "TextVQA_VAL",
    "d5ee77e1926ff10690d469c56b73eabf": "DocVQA_VAL",
    "2342e9c225222f0ef4dec545ebb126fe": "InfoVQA_VAL",
    "c902e0aa9be5582a7aad6dcf52734b42": "ChartQA_TEST",
    "99b62f22e224d9b2f32dcbe41359d1c9": "GQA_TestDev_Balanced",
    "b6caf1133a01c6bb705cf753bb527ed8": "MMBench_DEV_EN",
    "68017231464752261a2526d6ca3a10c0": "SEEDBench_IMG",
    "96320d05e142e585e7204e72affd29f3": "ScienceQA_VAL",
    "e42e9e00f9c59a80d8a5db35bc32b71f": "ScienceQA_TEST",
    "0f593e0d1c7df9a3d69bf1f947e71975": "AI2D_TEST",
    "fd8f463634d4fe9fbd23b876e8eea5be": "AI2D_TEST_NO_MASK",
    "e1ecd2140806c1b1bbf54b43372efb9e": "MMStar",
    "585e8ad75e73f75dcad265dfd0417d64": "MMMU_DEV_VAL",
}
"""The published tables, by the digest that VLMEvalKit checks."""


def yes_no(row: Row) -> Question:
    """MME and POPE: image_path names the picture."""
    index = row.text("index")
    image = row.text_or("image_path", index)
    return Question(
        index, row.text("question"), row.text("answer"), row.picture(), image, row.text("category")
    )


def short(row: Row) -> Question:
    """Short answers; a list is written in a text."""
    index, answer = row.text("index"), row.text("answer")
    gold = row.texts("answer") if answer.startswith("[") else (answer,)
    return Question(index, row.text("question"), gold, row.picture(), index, row.text_or("category"))


def one_short(row: Row) -> Question:
    """GQA: one right answer."""
    question = short(row)
    if len(question.gold) != 1:
        raise row.fail("answer", "one text")
    return replace(question, gold=question.gold[0])


def chartqa(row: Row) -> Question:
    """ChartQA: the split is who asked."""
    return replace(short(row), category=row.text_or("split").removeprefix("test_"))


def choice(row: Row) -> Question:
    """Choices: options in columns A, B, ..."""
    index = row.text("index")
    return Question(
        index, row.text("question"), row.text("answer"), row.picture(), index, row.text_or("category"),
        row.letters(), row.text_or("hint"),
    )  # fmt: skip


def mmbench(row: Row) -> Question:
    """MMBench: rotations of a question have its index plus millions."""
    source = str(row.whole("index") % 1_000_000)
    return replace(choice(row), image=source, facts={"source": source})


def mmstar(row: Row) -> Question:
    """MMStar, with its finer category."""
    return replace(choice(row), facts={"subcategory": row.text("l2_category")})


def mmvp(row: Row) -> Question:
    """MMVP: neighbours are a pair."""
    return replace(choice(row), facts={"pair": str(row.number // 2)})


def scienceqa(row: Row) -> Question:
    """ScienceQA: the table holds the questions with a picture."""
    question = choice(row)
    return replace(question, facts={"has_image": question.picture is not None})


def mmmu(row: Row) -> Question:
    """MMMU: a row without options is an open question; there may be several pictures."""
    question, shown = (choice if row.has("A") else short)(row), row.listed_pictures()
    return replace(question, pictures=len(shown), more=shown[1:])
