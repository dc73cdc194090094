"""Captions, answers and scores: the same alone and in a batch, from pictures and from latents."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.small import small_model, small_tokenizer
from unimm.model.inputs import batch_of, rows_of, user, with_latents
from unimm.model.speaking import likelihood
from unimm.parts import Image as Picture
from unimm.parts import Text, Turn
from unimm.text.tokenizer import encode, special_ids


@pytest.fixture(scope="module")
def model():
    return small_model(seed=2)


@pytest.fixture(scope="module")
def pictures():
    noise = torch.rand(3, 20, 20, 3, generator=torch.Generator().manual_seed(0)) * 255
    return [Image.fromarray(picture.numpy()) for picture in noise.to(torch.uint8)]


QUESTIONS = ["How many?", "Which colour is the star on the left of all?", "a"]


def test_captions_are_the_same_alone_and_in_a_list(model, pictures):
    together = model.caption(pictures, max_new_tokens=8)
    assert together == [model.caption(picture, max_new_tokens=8) for picture in pictures]
    assert all(together), "empty captions would prove nothing"


def test_answers_are_the_same_alone_and_in_a_list(model, pictures):
    together = model.answer(pictures, QUESTIONS, max_new_tokens=8)
    pairs = zip(pictures, QUESTIONS, strict=True)
    assert together == [model.answer(picture, question, max_new_tokens=8) for picture, question in pairs]


def test_what_does_not_fit_memory_together_is_read_in_passes(model, pictures, monkeypatch):
    captions = model.caption(pictures, max_new_tokens=4)
    chosen = model.answer(pictures, QUESTIONS, choices=["yes", "no"])
    rows = []
    hook = model.llm.model.register_forward_hook(lambda llm, inputs, out: rows.append(len(out[0])))
    monkeypatch.setattr("unimm.model.memory.CPU_BYTES", 1)
    assert model.caption(pictures, max_new_tokens=4) == captions
    assert model.answer(pictures, QUESTIONS, choices=["yes", "no"]) == chosen
    hook.remove()
    assert set(rows) == {1}


def test_one_question_or_one_picture_serves_all(model, pictures):
    assert model.answer(pictures, "How many?") == [model.answer(p, "How many?") for p in pictures]
    assert model.answer(pictures[0], QUESTIONS) == [model.answer(pictures[0], q) for q in QUESTIONS]
    with pytest.raises(ValueError, match="one for each of 3 pictures, got 2"):
        model.answer(pictures, QUESTIONS[:2])


def test_latents_do_as_well_as_the_picture(model, pictures):
    from unimm.latents.pixels import to_pixels

    with torch.no_grad():
        latents = model.encode_image(to_pixels(pictures, 12))
    assert model.caption(latents, max_new_tokens=8) == model.caption(pictures, max_new_tokens=8)
    assert model.answer(latents[1], "a?") == model.answer(pictures[1], "a?")
    torch.testing.assert_close(
        torch.tensor(model.verify(latents, "a star")), torch.tensor(model.verify(pictures, "a star"))
    )


def test_a_list_may_mix_pictures_and_latents(model, pictures):
    from unimm.latents.pixels import to_pixels

    with torch.no_grad():
        latents = model.encode_image(to_pixels(pictures, 12))
    mixed = [pictures[0], latents[1], Picture(pictures[2])]
    assert model.caption(mixed, max_new_tokens=8) == model.caption(pictures, max_new_tokens=8)
    assert model.answer(mixed, QUESTIONS, max_new_tokens=8) == model.answer(
        pictures, QUESTIONS, max_new_tokens=8
    )


def test_words_by_chance_are_each_pictures_own(model, pictures):
    options = {"max_new_tokens": 8, "temperature": 1.0}
    together = model.caption(pictures, **options, seed=4)
    assert together == [model.caption(p, **options, seed=4 + index) for index, p in enumerate(pictures)]
    assert together != model.caption(pictures, **options, seed=40)
    cold = {"max_new_tokens": 8, "temperature": 1e-4}
    assert model.answer(pictures, QUESTIONS, **cold) == model.answer(pictures, QUESTIONS, max_new_tokens=8)
    narrow = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 1e-6}
    assert model.caption(pictures, **narrow) == model.caption(pictures, max_new_tokens=8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, "temperature: expected a number above 0, got 0"),
        ({"temperature": 1.0, "top_p": 0}, "top_p: expected a number above 0, to 1, got 0"),
        ({"top_p": 0.5}, "top_p: it acts with a temperature"),
        ({"temperature": 1.0, "seed": -1}, "seed: expected a whole number of 0 or more"),
    ],
)
def test_chances_that_are_none_are_refused(model, pictures, options, words):
    with pytest.raises(ValueError, match=words):
        model.caption(pictures[0], **options)
    with pytest.raises(ValueError, match="choices: the likeliest of them is the answer, so seed cannot act"):
        model.answer(pictures[0], "a?", choices=["yes", "no"], seed=1)


def test_looking_records_no_gradients(model, pictures):
    part = with_latents(model, [Picture(pictures[0])])[0]
    assert not part.latents.requires_grad


def test_the_likeliest_choice_is_the_answer(model, pictures):
    choices = ["yes", "no", "a blue star", "two"]
    totals = []
    for choice in choices:
        row = rows_of(model, [[user(Picture(pictures[0]), "a?")]], open_turn=True)
        marks, words = special_ids(small_tokenizer()), encode(small_tokenizer(), choice)
        turns = [user(encoded(model, pictures[0]), "a?")]
        row = rows_of(model, [turns], open_turn=True)[0]
        total = 0.0
        with torch.no_grad():
            for token in [*words, marks.turn_end]:
                logits = model.llm.lm_head(model(batch_of(model, [row]))[0, -1])
                total += float(logits.log_softmax(-1)[token])
                row.add([token], labelled=False)
        totals.append(total)
    turns = [[user(encoded(model, pictures[0]), "a?"), Turn("assistant", (Text(c),))] for c in choices]
    assert likelihood(model, turns).tolist() == pytest.approx(totals, abs=1e-3)
    assert model.answer(pictures[0], "a?", choices=choices) == choices[totals.index(max(totals))]


def encoded(model, picture) -> Picture:
    from unimm.latents.pixels import to_pixels

    with torch.no_grad():
        return Picture(latents=model.encode_image(to_pixels([picture], 12))[0])


def test_words_never_hold_a_mark_of_an_image(model, pictures, monkeypatch):
    marks, head = special_ids(small_tokenizer()), model.llm.lm_head
    eager_to_draw = torch.zeros(300)
    eager_to_draw[[marks.image_start, marks.image_slot, marks.image_end]] = 1e4
    monkeypatch.setattr(head, "forward", lambda h: torch.nn.functional.linear(h, head.weight) + eager_to_draw)
    free = model.caption(pictures[0], max_new_tokens=4)
    monkeypatch.undo()
    assert free == model.caption(pictures[0], max_new_tokens=4)


def test_scores_are_the_same_alone_and_in_a_list(model, pictures):
    for verifier in ("answer_logits", "prompt_confidence"):
        together = model.verify(pictures, QUESTIONS, verifier)
        alone = [model.verify(p, q, verifier)[0] for p, q in zip(pictures, QUESTIONS, strict=True)]
        assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (None, ValueError, "expected a picture, got None"),
        ([], ValueError, "at least one picture"),
        (b"not a picture", ValueError, "not a picture"),
        ("/nowhere/x.png", FileNotFoundError, "no file at /nowhere/x.png"),
        (torch.zeros(4, 8), ValueError, r"latents: expected \[N C\] with N=9, got 4"),
    ],
)
def test_what_is_no_picture_is_refused(model, image, error, words):
    for ask in (model.caption, lambda x: model.answer(x, "a?"), lambda x: model.verify(x, "a")):
        with pytest.raises(error, match=words):
            ask(image)


def test_questions_must_ask_something_and_fit(model, pictures):
    with pytest.raises(ValueError, match="question: expected some words"):
        model.answer(pictures[0], " ")
    with pytest.raises(ValueError, match="expected at most 160 tokens"):
        model.answer(pictures[0], "why " * 200)
    with pytest.raises(ValueError, match="max_new_tokens"):
        model.caption(pictures[0], max_new_tokens=0)
