"""Prompts, word for word."""

from __future__ import annotations

import pytest

from unimm.evaluation.vqa.questions import Question
from unimm.evaluation.vqa.tasks import TASKS

MME = Question("1", "Is it red? Please answer yes or no.", "yes", None, "1")
CHOICE = Question("1", "Which?", "B", None, "1", options=("cat", "dog"), hint="Look.")
OPEN = Question("1", "<image 1> How many?", ("2",), None, "1")
READ = Question("1", "what brand IS it?", ("x",), None, "1", tokens=("coca", "cola"))
LETTER = "Answer with the option's letter from the given choices directly."
WORD = "Answer the question using a single word or phrase."


@pytest.mark.parametrize(
    ("bench", "protocol", "question", "prompt"),
    [
        ("mme", "official", MME, "Is it red? Please answer yes or no."),
        ("mme", "cambrian", MME, f"Is it red? Please answer yes or no.\n{WORD}"),
        ("mme", "lmms_eval", MME, f"Is it red?\n{WORD}"),
        ("mme", "vlmevalkit", MME, "Is it red? Please answer yes or no."),
        ("textvqa", "cambrian", READ, f"what brand IS it?\n{WORD}"),
        ("textvqa", "lmms_eval", READ, f"What brand is it?\n{WORD}"),
        ("ai2d", "cambrian", CHOICE, f"Which?\nA. cat\nB. dog\n{LETTER}"),
        ("seed", "cambrian", CHOICE, f"Which? Options:\nA. cat\nB. dog\n{LETTER}"),
        ("seed", "lmms_eval", CHOICE, f"Which?\nA. cat\nB. dog\n{LETTER}"),
        ("mmbench", "cambrian", CHOICE, f"Look.\nWhich? Options:\nA. cat\nB. dog\n{LETTER}"),
        (
            "mmbench", "vlmevalkit", CHOICE,
            "Hint: Look.\nQuestion: Which?\nOptions:\nA. cat\nB. dog\n"
            "Please select the correct answer from the options above. \n",
        ),
        (
            "scienceqa", "cambrian", CHOICE,
            "Look. Which?\nA. cat\nB. dog\n"
            "Please answer directly with only the letter of the correct option and nothing else.",
        ),
        ("scienceqa", "lmms_eval", CHOICE, f"Context: Look.\nWhich?\nA. cat\nB. dog\n{LETTER}"),
        ("mmmu", "official", CHOICE, f"Which?\n\nA. cat\nB. dog\n\n{LETTER}"),
        ("mmmu", "cambrian", CHOICE, f"Which? Options:\nA. cat\nB. dog\n{LETTER}"),
        ("mmmu", "cambrian", OPEN, f"How many?\n{WORD}"),
        ("mmmu", "lmms_eval", OPEN, f"<image 1> How many?\n\n{WORD}"),
        (
            "mmmu_pro", "official", CHOICE,
            "Which?\nA. cat\nB. dog\nAnswer with the option letter from the given choices directly.",
        ),
        ("chartqa", "cambrian", MME, f"{MME.text}\nAnswer the question using a single number or phrase."),
        ("chartqa", "lmms_eval", MME, f"{MME.text}\nAnswer the question with a single word."),
        ("pope", "vlmevalkit", MME, MME.text),
        ("mmstar", "lmms_eval", OPEN, f"<image 1> How many?\n{LETTER.removesuffix('.')}"),
        ("ai2d", "bare", CHOICE, "Which? A. cat B. dog"),
        ("vqav2", "bare", OPEN, "<image 1> How many?"),
    ],
)  # fmt: skip
def test_a_prompt_is_word_for_word(bench, protocol, question, prompt):
    assert TASKS[bench].asking[protocol].form(question) == prompt


def test_tokens_are_worded_by_protocol():
    ways = TASKS["textvqa"].asking
    cambrian = f"what brand IS it?\nReference OCR tokens: coca, cola\n{WORD}"
    assert ways["cambrian"].with_tokens(READ) == cambrian
    lmms_eval = f"What brand is it?\nReference OCR token: coca, cola\n{WORD}"
    assert ways["lmms_eval"].with_tokens(READ) == lmms_eval
    assert ways["cambrian"].with_tokens(MME) == f"{MME.text}\nReference OCR tokens:\n{WORD}"


def test_a_question_inside_the_picture_asks_for_the_last_line():
    inside = Question("1", "", "B", None, "1", options=("cat", "dog"))
    assert (
        TASKS["mmmu_pro"]
        .asking["official"]
        .form(inside)
        .endswith("'Answer: $LETTER' (without quotes) where LETTER is one of options.")
    )
    assert TASKS["mmmu_pro"].asking["lmms_eval"].form(inside) == (
        "Answer with the option letter from the given choices directly."
    )


def test_every_way_to_ask_has_rules_that_score_it():
    from unimm.evaluation.scorers import SCORERS

    for name, task in TASKS.items():
        for protocol, way in task.asking.items():
            assert (way.scored_as or protocol) in SCORERS[name].protocols, (name, protocol)
