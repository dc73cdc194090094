"""The template is Qwen's ChatML, labels are the assistant's words, and runs say where pictures stand."""

from __future__ import annotations

import pytest
import torch

from tests.model.small import small_tokenizer
from unimm.parts import IGNORED, Image, Run, Text, Turn
from unimm.text.chat import collate, label_marks, open_image, opened, render
from unimm.text.tokenizer import encode, special_ids

ASK = Turn("user", (Image(), Text("What is it?")))
SAY = Turn("assistant", (Text("two red circles"),))
DRAW = Turn("assistant", (Text("Here: "), Image(target=True)))


def show(ids) -> str:
    return small_tokenizer().decode(ids)


def test_a_conversation_is_rendered_as_chatml():
    row = render([ASK, SAY], small_tokenizer(), 2)
    assert show(row.ids) == (
        "<|im_start|>user\n<im_start><image><image><im_end>\nWhat is it?<|im_end|>\n"
        "<|im_start|>assistant\ntwo red circles<|im_end|>\n"
    )


def test_a_picture_in_the_assistants_turn_has_no_line_break():
    row = render([DRAW], small_tokenizer(), 2)
    assert show(row.ids) == "<|im_start|>assistant\nHere: <im_start><image><image><im_end><|im_end|>\n"


def test_there_is_no_system_turn_unless_given():
    assert "system" not in show(render([ASK], small_tokenizer(), 1).ids)
    assert (
        show(render([Turn("system", (Text("x"),))], small_tokenizer(), 1).ids)
        == "<|im_start|>system\nx<|im_end|>\n"
    )


def test_a_system_turn_opens_what_has_none():
    hers = Turn("system", (Text("x"),))
    assert opened([ASK], None) == [ASK]
    assert opened([hers, ASK], "y") == [hers, ASK]
    rendered = show(render(opened([ASK], "You are a helpful assistant."), small_tokenizer(), 1).ids)
    assert rendered.startswith(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )


def test_labels_are_what_the_assistant_says_and_its_marks():
    row = render([ASK, SAY, ASK, DRAW], small_tokenizer(), 3)
    kept = [label for label in row.labels if label != IGNORED]
    assert show(kept) == "two red circles<|im_end|>Here: <im_start><im_end><|im_end|>"
    assert all(label in (IGNORED, token) for label, token in zip(row.labels, row.ids, strict=True))


def test_the_published_labels_cover_newlines_and_turn_marks_of_all_speakers():
    plain = render([Turn("system", (Text("x\ny"),)), ASK, SAY, ASK, DRAW], small_tokenizer(), 3)
    row = label_marks(plain, small_tokenizer())
    marks, [newline] = special_ids(small_tokenizer()), encode(small_tokenizer(), "\n")
    added = [new for old, new in zip(plain.labels, row.labels, strict=True) if old != new]
    assert set(added) == {marks.turn_start, marks.turn_end, newline}
    for token, label in zip(row.ids, row.labels, strict=True):
        assert label == token or token not in {marks.turn_start, marks.turn_end, newline}
    assert marks.image_slot not in row.labels
    kept = [new for old, new in zip(plain.labels, row.labels, strict=True) if old != IGNORED]
    assert kept == [label for label in plain.labels if label != IGNORED]
    assert row.runs == plain.runs
    assert newline not in plain.labels, "the row given is left as it was"


def test_the_assistants_earlier_picture_is_labelled_like_a_drawn_one():
    seen = render([Turn("assistant", (Image(),))], small_tokenizer(), 3)
    drawn = render([Turn("assistant", (Image(target=True),))], small_tokenizer(), 3)
    assert (seen.ids, seen.labels) == (drawn.ids, drawn.labels)
    assert [slots.target for slots in seen.runs + drawn.runs] == [False, True]


def test_runs_point_at_the_slots():
    row = render([ASK, DRAW], small_tokenizer(), 4)
    slot = special_ids(small_tokenizer()).image_slot
    places = [place for slots in row.runs for place in range(slots.start, slots.start + slots.length)]
    assert places == [place for place, token in enumerate(row.ids) if token == slot]
    assert [slots.target for slots in row.runs] == [False, True]


def test_the_prompt_for_generation_begins_the_trained_row():
    tokenizer = small_tokenizer()
    prompt = render([ASK], tokenizer, 4, add_generation_prompt=True)
    whole = render([ASK, SAY], tokenizer, 4)
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert show(prompt.ids).endswith("<|im_start|>assistant\n")


def test_a_forced_picture_begins_the_trained_row():
    tokenizer, ask = small_tokenizer(), Turn("user", (Text("Draw."),))
    prompt = render([ask], tokenizer, 4, add_generation_prompt=True)
    opened = open_image(prompt, tokenizer, 4)
    whole = render([ask, Turn("assistant", (Image(target=True),))], tokenizer, 4)
    assert whole.ids[: len(opened.ids)] == opened.ids
    assert opened.runs == whole.runs
    assert len(prompt.runs) == 0, "the row that was given is left as it was"


def test_only_the_assistant_draws():
    with pytest.raises(ValueError, match="assistant"):
        render([Turn("user", (Image(target=True),))], small_tokenizer(), 2)


def test_rows_are_padded_at_the_right():
    rows = [render([ASK, SAY], small_tokenizer(), 2), render([DRAW], small_tokenizer(), 2)]
    pad = special_ids(small_tokenizer()).pad
    batch = collate(rows, pad, torch.zeros(1, 2, 3), torch.ones(1, 2, 3))
    lengths = [len(row.ids) for row in rows]
    assert batch.attention_mask.sum(1).tolist() == lengths
    assert batch.input_ids[1, lengths[1] :].unique().tolist() == [pad]
    assert batch.labels[1, lengths[1] :].unique().tolist() == [IGNORED]
    assert batch.context_runs == (Run(0, rows[0].runs[0].start, 2),)
    assert batch.query_runs == (Run(1, rows[1].runs[0].start, 2),)
    moved = batch.to("meta")
    assert {x.device.type for x in (moved.input_ids, moved.labels, moved.target_latents)} == {"meta"}
