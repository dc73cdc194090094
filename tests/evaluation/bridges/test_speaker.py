"""What the harnesses ask for, answered by tiny."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimm import UniMM
from unimm.evaluation.bridges.speaker import MODES, Request, Speaker, cut
from unimm.world.render import render
from unimm.world.scene import Scene, Thing


@pytest.fixture(scope="module")
def model():
    return UniMM.from_pretrained("tiny").eval()


def picture(shape="circle", colour="red"):
    return Image.fromarray(render(Scene("sky", (Thing(shape, colour, 0.5, 0.5, 0.19),)), 80))


def user(*parts):
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def asked(*parts, key="k", **options):
    return Request(user(*parts), key, **options)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image, int)


def test_answers_keep_their_order_and_do_not_depend_on_the_batch(model):
    shapes = ("circle", "star", "heart")
    requests = [asked(picture(shape), f"Is there a {each}?") for shape in shapes for each in shapes]
    requests.insert(2, asked("How many circles are there?"))  # no picture: it goes another way
    requests.insert(5, asked("Is there a circle?", picture()))  # words first, the same
    together = Speaker(model, batch_size=4).replies(requests)
    assert together == [Speaker(model).replies([request])[0] for request in requests]
    of_pairs = [reply for place, reply in enumerate(together) if place not in (2, 5)]
    assert of_pairs == ["yes" if i == j else "no" for i in range(3) for j in range(3)]


def test_a_batch_says_what_the_model_says_in_a_chat(model):
    messages = user(picture("star", "blue"), "What color is the star?")
    reply = model.chat(messages, max_images=0, max_new_tokens=16).text
    assert Speaker(model).replies([Request(messages, "k", 16)]) == [reply] == ["blue"]


def test_a_conversation_of_turns_is_continued(model):
    messages = [*user(picture(), "Is there a circle?"), {"role": "assistant", "content": "yes"}]
    messages += [{"role": "user", "content": "What color is the circle?"}]
    assert Speaker(model).replies([Request(messages, "k")]) == ["red"]


def test_drawing_replies_with_text_and_paths_and_a_seed_of_its_own(model, tmp_path):
    drawing = {"num_inference_steps": 4}
    requests = [asked("a red circle", key="task/1"), asked("a red circle", key="task/2")]
    first = Speaker(model, "draw", tmp_path / "a", drawing=drawing).replies(requests)
    assert [json.loads(reply)["text"] for reply in first] == ["", ""]
    (one,), (two,) = (json.loads(reply)["images"] for reply in first)
    assert Path(one).name == "task_1-0.png"
    assert pixels_of(one).shape == (80, 80, 3)
    assert Path(one).read_bytes() != Path(two).read_bytes()
    again = Speaker(model, "draw", tmp_path / "b", drawing=drawing, batch_size=1).replies(requests[::-1])
    (same,) = json.loads(again[1])["images"]
    assert np.abs(pixels_of(one) - pixels_of(same)).max() <= 1  # the batch changes no more than rounding
    other = Speaker(model, "draw", tmp_path / "c", seed=1, drawing=drawing).replies(requests[:1])
    assert Path(json.loads(other[0])["images"][0]).read_bytes() != Path(one).read_bytes()


def test_in_chat_the_model_draws_when_it_is_asked_to_and_else_speaks(model, tmp_path):
    speaker = Speaker(model, "chat", tmp_path, drawing={"num_inference_steps": 2, "best_of": 2})
    drawn, said = speaker.replies([asked("Draw a red circle."), asked(picture(), "Is there a circle?")])
    assert said == "yes"
    assert len(json.loads(drawn)["images"]) == 1


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (user(picture()), "expected words"),
        (
            [*user("draw"), {"role": "assistant", "content": "no"}, *user("do")],
            "one turn to draw from, got 3",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, messages, said):
    with pytest.raises(ValueError, match=said):
        Speaker(model, "draw").replies([Request(messages, "k")])


def test_an_unknown_mode_is_refused():
    with pytest.raises(
        ValueError, match="mode: expected one of answer, draw, chat, got 'drew'; did you mean 'draw'"
    ):
        Speaker(None, "drew")
    assert list(MODES) == ["answer", "draw", "chat"]


@pytest.mark.parametrize(
    ("stops", "expected"), [((), "a b\n\nc"), (("\n\n",), "a b"), (("c", "b"), "a"), (("", "x"), "a b\n\nc")]
)
def test_a_reply_ends_before_the_first_stop(stops, expected):
    assert cut("a b\n\nc", stops) == expected
