"""A reply: words and pictures in the order the model decides, and what it drew is in its view."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.model.scripted import DRAW, END, script
from tests.model.small import VAE, small_model, small_tokenizer
from unimm.chat.conversation import Conversation
from unimm.model.context import Context
from unimm.model.drawing import drawing_steps
from unimm.model.inputs import rows_of
from unimm.model.responding import DoneEvent, DrawingEvent, ImageEvent, TokenEvent
from unimm.parts import from_messages
from unimm.text.tokenizer import special_ids

HELLO = [{"role": "user", "content": "Draw a red star and say when it is done"}]
STEPS = {"num_inference_steps": 3, "seed": 4}


@pytest.fixture
def model():
    return small_model()


def test_events_come_in_the_order_the_model_decides(model, monkeypatch):
    script(model, monkeypatch, "Here: ", DRAW, " done 🎨", END)
    events = list(model.respond(HELLO, **STEPS))
    kinds = [type(event) for event in events]
    drawing = kinds.index(DrawingEvent)
    assert set(kinds[:drawing]) == {TokenEvent}
    assert kinds[drawing : drawing + 4] == [DrawingEvent] * 3 + [ImageEvent]
    assert set(kinds[drawing + 4 : -1]) == {TokenEvent}
    assert [(e.step, e.total) for e in events[drawing : drawing + 3]] == [(1, 3), (2, 3), (3, 3)]
    texts = "".join(e.text for e in events[:drawing]), "".join(e.text for e in events[drawing + 4 : -1])
    assert texts == ("Here: ", " done 🎨")
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert done.reason == "stop"
    assert [part["type"] for part in done.message["content"]] == ["text", "image", "text"]


def test_a_decided_picture_is_the_one_a_forced_picture_would_be(model, monkeypatch):
    script(model, monkeypatch, DRAW, END)
    reply = model.chat([{"role": "user", "content": "Generate an image of a red star"}], **STEPS)
    monkeypatch.undo()
    forced = model.generate_image("a red star", **STEPS)
    torch.testing.assert_close(reply.latents[0], forced.latents[0], rtol=0, atol=1e-4)
    assert reply.images[0].tobytes() == forced.images[0].tobytes()


def test_the_memory_after_a_picture_is_what_the_history_says(model, monkeypatch):
    script(model, monkeypatch, "Here: ", DRAW, " done", END)
    context = Context(model)
    reply = model.chat(HELLO, context=context, **STEPS)
    question = {"role": "user", "content": "What is it?"}
    row = rows_of(model, [from_messages([*HELLO, reply.message, question])], open_turn=True)[0]
    held, read, extend = len(context), [], context._memory.extend
    context._memory.extend = lambda embeds: read.append(embeds.shape[1]) or extend(embeds)
    with torch.no_grad():
        remembered = context.read(row)
        afresh = Context(model).read(row)
    assert read == [len(row.ids) - held], "only the new turn is read"
    torch.testing.assert_close(remembered, afresh, rtol=1e-4, atol=1e-4)


def test_a_context_follows_any_change_of_history(model):
    context = Context(model)
    picture = {"type": "image", "latents": torch.randn(9, 8, generator=torch.Generator().manual_seed(0))}
    other = {"type": "image", "latents": torch.randn(9, 8, generator=torch.Generator().manual_seed(1))}
    text = {"type": "text", "text": "What is it, then?"}
    histories = [
        [picture, text],
        [other, text],
        [text, picture],
        [text],
        [picture, text, other],
        [picture, text],
    ]
    for content in histories:
        row = rows_of(model, [from_messages([{"role": "user", "content": content}])], open_turn=True)[0]
        with torch.no_grad():
            torch.testing.assert_close(context.read(row), Context(model).read(row), rtol=1e-4, atol=1e-4)
        assert len(context) == len(row.ids)


def test_seen_pictures_matter(model):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    states = []
    for picture in pictures:
        seen = []
        model.llm.model.register_forward_hook(lambda *args, seen=seen: seen.append(args[2].last_hidden_state))
        content = [{"type": "image", "image": picture}, {"type": "text", "text": "?"}]
        list(model.respond([{"role": "user", "content": content}], max_new_tokens=1))
        states.append(seen[0][0, -1])
    assert not torch.allclose(states[0], states[1], atol=1e-3)


def test_several_pictures_have_their_own_seeds_and_a_limit(model, monkeypatch):
    seeds, steps = [], drawing_steps
    monkeypatch.setattr(
        "unimm.model.responding.drawing_steps", lambda *asked: seeds.append(list(asked[2])) or steps(*asked)
    )
    script(model, monkeypatch, DRAW, DRAW, DRAW, END)
    assert len(model.chat(HELLO, max_images=2, max_new_tokens=5, **STEPS).images) == 2
    assert seeds == [[4], [5]]
    script(model, monkeypatch, DRAW, END)
    assert model.chat(HELLO, max_images=0, max_new_tokens=3).images == []


def test_a_reply_ends_with_its_tokens_or_the_context(model, monkeypatch):
    script(model, monkeypatch, *["word "] * 400)
    events = list(model.respond(HELLO, max_new_tokens=3))
    assert events[-1].reason == "length"
    script(model, monkeypatch, *["word "] * 400)
    context = Context(model)
    events = list(model.respond(HELLO, context=context, max_new_tokens=1000))
    assert events[-1].reason == "length"
    assert len(context) == 160


def test_no_picture_is_begun_that_would_not_fit(model, monkeypatch):
    used = len(rows_of(model, [from_messages(HELLO)], open_turn=True)[0].ids)
    filler = [{"role": "user", "content": HELLO[0]["content"] + "z" * (160 - used - 8)}]
    script(model, monkeypatch, DRAW, END)
    assert model.chat(filler, max_new_tokens=2, **STEPS).images == []


def test_marks_that_only_the_machine_sets_are_never_said(model, monkeypatch):
    marks, head = special_ids(small_tokenizer()), model.llm.lm_head
    loud = torch.zeros(300)
    loud[[marks.image_slot, marks.image_end, marks.turn_start, marks.pad]] = 1e4
    monkeypatch.setattr(head, "forward", lambda h: torch.nn.functional.linear(h, head.weight) + loud)
    context = Context(model)
    list(model.respond(HELLO, context=context, max_new_tokens=5, max_images=0))
    said = context._row.ids[-5:]
    assert not set(said) & {marks.image_slot, marks.image_end, marks.turn_start, marks.pad}


def test_a_reply_records_no_gradients_and_leaves_them_on_for_its_reader(model, monkeypatch):
    recorded = []
    model.connector.register_forward_hook(lambda room, inputs, out: recorded.append(out.requires_grad))
    script(model, monkeypatch, "a", DRAW, END)
    for _ in model.respond(HELLO, **STEPS):
        assert torch.is_grad_enabled()
    assert recorded == [False]


@pytest.mark.parametrize(
    ("messages", "options", "words"),
    [
        ([], {}, "at least one message"),
        ([*HELLO, {"role": "assistant", "content": "x"}], {}, "expected the last one from the user"),
        ([{"role": "user", "content": " "}], {}, "got nothing"),
        ([{"role": "user", "content": "why " * 200}], {}, "expected at most 160 tokens"),
        (HELLO, {"max_new_tokens": 0}, "max_new_tokens"),
        (HELLO, {"max_images": -1}, "max_images: expected 0 or more"),
        (HELLO, {"num_inference_steps": 0}, "num_inference_steps"),
        (HELLO, {"image_start": "force"}, "did you mean 'forced'"),
        (HELLO, {"image_start": "forced", "max_images": 0}, "max_images: expected 1 or more"),
        (HELLO, {"seed": "x"}, "seed: expected a whole number of 0 or more, got 'x'"),
        ([{"role": "user", "content": "z" * 140}], {"image_start": "forced"}, "expected at most 160 tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_the_first_event(model, messages, options, words):
    with pytest.raises(ValueError, match=words):
        model.respond(messages, **options)


@pytest.mark.parametrize("changes", [{}, VAE], ids=["rae", "vae"])
@pytest.mark.parametrize("profile", ["standard", "reference"])
def test_words_go_on_after_pictures_and_pictures_stay_in_view(monkeypatch, profile, changes):
    model = small_model(**changes)
    model.profile = profile
    talk = Conversation(model, num_inference_steps=3, seed=4)
    script(model, monkeypatch, "one ", DRAW, " two ", DRAW, " three", END, "yes", END)
    first = talk.say("Draw two stars")
    assert first.text == "one  two  three"
    assert [part["type"] for part in first.message["content"]] == ["text", "image"] * 2 + ["text"]
    assert len(first.images) == 2
    assert not torch.equal(*first.latents)
    encoded, decoded = [], []
    model.encoder.register_forward_hook(lambda *_: encoded.append(1))
    monkeypatch.setattr(model, "decode_latents", lambda latents: decoded.append(1))
    monkeypatch.setattr(model, "encode_image", lambda pixels: encoded.append(1))
    assert talk.say("Are they red?").text == "yes"
    assert not encoded + decoded, "what it drew is not decoded and encoded again"


@torch.no_grad()
def test_what_is_remembered_of_a_drawn_vae_is_what_the_history_says(monkeypatch):
    model, context = small_model(**VAE), None
    context = Context(model)
    script(model, monkeypatch, "Here: ", DRAW, " done", END)
    reply = model.chat(HELLO, context=context, **STEPS)
    drawn = next(part for part in reply.message["content"] if part["type"] == "image")
    torch.testing.assert_close(drawn["seen"], model.to_seen(drawn["latents"][None])[0], rtol=0, atol=1e-5)
    question = {"role": "user", "content": "What is it?"}
    row = rows_of(model, [from_messages([*HELLO, reply.message, question])], open_turn=True)[0]
    torch.testing.assert_close(context.read(row), Context(model).read(row), rtol=1e-4, atol=1e-4)


def test_a_reply_in_words_where_a_picture_was_wanted_says_so(model, monkeypatch):
    script(model, monkeypatch, "I would rather not", END)
    reply = model.chat(HELLO, image_start="wanted", **STEPS)
    assert (reply.text, reply.reason, reply.lacks_image) == ("I would rather not", "no_image", True)
    script(model, monkeypatch, "I would rather not", END)
    assert not model.chat(HELLO, **STEPS).lacks_image
    script(model, monkeypatch, DRAW, END)
    reply = model.chat(HELLO, image_start="wanted", **STEPS)
    assert (len(reply.images), reply.reason) == (1, "stop")


def test_a_forced_picture_comes_first_and_is_the_one_generate_image_draws(model, monkeypatch):
    script(model, monkeypatch, "there", END)
    asked = [{"role": "user", "content": "Generate an image of a red star"}]
    reply = model.chat(asked, image_start="forced", **STEPS)
    assert [part["type"] for part in reply.message["content"]] == ["image", "text"]
    expected = model.generate_image("a red star", **STEPS)
    torch.testing.assert_close(reply.latents[0], expected.latents[0], rtol=0, atol=1e-4)


def test_a_reply_is_drawn_by_the_solver_that_is_asked_for(model, monkeypatch):
    drawn = []
    for options in ({}, {"solver": "heun"}, {"guidance_scale": 3.0}):
        script(model, monkeypatch, DRAW, END)
        drawn.append(model.chat(HELLO, **STEPS, **options).latents[0])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
