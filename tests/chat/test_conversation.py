"""A conversation remembers what was said and drawn, reads it once, and can take it back."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.scripted import DRAW, END, script
from tests.model.small import small_model
from unimm.chat import Conversation

STEPS = {"num_inference_steps": 2, "seed": 0}


@pytest.fixture
def model():
    return small_model(seed=1)


@pytest.fixture
def talk(model):
    return Conversation(model, max_new_tokens=6, **STEPS)


def test_replies_are_those_of_the_whole_history_said_at_once(model, talk):
    picture = Image.new("RGB", (20, 20), "red")
    first = talk.say("Hello", picture, "what is it?")
    second = talk.say("And now?")
    history = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "image", "image": picture},
                {"type": "text", "text": "what is it?"},
            ],
        }
    ]
    expected = model.chat(history, max_new_tokens=6, **STEPS)
    assert first.text == expected.text
    history += [expected.message, {"role": "user", "content": "And now?"}]
    assert second.text == model.chat(history, max_new_tokens=6, **STEPS).text
    assert [message["role"] for message in talk.messages] == ["user", "assistant"] * 2


def test_a_drawn_picture_is_never_encoded_and_a_shown_one_once(model, talk, monkeypatch):
    encoded, encode = [], model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    script(model, monkeypatch, "Here: ", DRAW, END, "a star", END, "yes", END)
    drawn = talk.say("Draw a red star.")
    talk.say("What is it?")
    assert encoded == []
    talk.say(Image.new("RGB", (9, 9)), "the same?")
    talk.say("Sure?")
    assert encoded == [1]
    kept = talk.messages[1]["content"][1]
    assert kept["type"] == "image"
    assert torch.equal(kept["latents"], drawn.latents[0])


def test_only_what_is_new_is_read(model, talk, monkeypatch):
    script(model, monkeypatch, "yes", END, "no", END)
    talk.say("A rather long first turn, with many words in it")
    held, read, extend = len(talk._context), [], talk._context._memory.extend
    talk._context._memory.extend = lambda embeds: read.append(embeds.shape[1]) or extend(embeds)
    talk.say("ok")
    assert read == [len(talk._context) - held - 1, 1], "the new turn, then the one word that answers it"


def test_undo_takes_back_one_exchange_and_its_effect(model, talk, monkeypatch):
    talk.say("Hello")
    before, expected = talk.messages, talk.say("What?").text
    talk.undo()
    assert talk.messages == before
    script(model, monkeypatch, DRAW, END)
    talk.say("Draw.")
    monkeypatch.undo()
    taken = talk.undo()
    assert [message["role"] for message in taken] == ["user", "assistant"]
    assert talk.say("What?").text == expected
    talk.undo()
    talk.undo()
    with pytest.raises(ValueError, match="nothing|none"):
        talk.undo()


def test_retry_says_the_same_again(model, talk, monkeypatch):
    script(model, monkeypatch, DRAW, END)
    first = talk.say("Draw.")
    script(model, monkeypatch, DRAW, END)
    second = talk.retry(seed=9)
    assert len(talk.messages) == 2
    assert not torch.allclose(first.latents[0], second.latents[0], atol=1e-2)
    with pytest.raises(ValueError, match="num_inference_steps"):
        talk.retry(num_inference_steps=0)
    assert len(talk.messages) == 2, "a refused retry loses nothing"


def test_a_reply_left_unfinished_leaves_no_trace(model, talk, monkeypatch):
    expected = Conversation(model, max_new_tokens=6).say("Hello").text
    script(model, monkeypatch, "words words ", DRAW, END)
    for number, _ in enumerate(talk.stream("Draw.")):
        if number == 4:
            break
    monkeypatch.undo()
    assert talk.messages == []
    assert talk.say("Hello").text == expected


def test_an_earlier_conversation_goes_on(model, talk):
    talk.say("Hello", Image.new("RGB", (9, 9), "blue"))
    again = Conversation(model, talk.messages, max_new_tokens=6, **STEPS)
    assert again.say("And?").text == talk.say("And?").text


def test_nothing_said_is_refused(talk):
    for content in ((), (" ",)):
        with pytest.raises(ValueError, match="got nothing"):
            talk.stream(*content)
    assert talk.messages == []


def test_what_was_said_cannot_be_changed_from_outside(talk):
    talk.say("Hello")
    talk.messages.clear()
    assert len(talk.messages) == 2
