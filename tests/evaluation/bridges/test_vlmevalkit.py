"""The wrapper for VLMEvalKit by its contract: the forms of messages, custom prompts, the table of models."""

import json
import sys
from types import ModuleType

import pytest
from PIL import Image

from unimm import UniMM
from unimm.evaluation.bridges.vlmevalkit import LETTER, SHORT, Wrapper, parts, register, worded
from unimm.world.render import render
from unimm.world.scene import Scene, Thing


@pytest.fixture(scope="module")
def wrapper():
    return Wrapper(UniMM.from_pretrained("tiny").eval())


@pytest.fixture
def star(tmp_path):
    path = tmp_path / "star.png"
    Image.fromarray(render(Scene("sky", (Thing("star", "blue", 0.5, 0.5, 0.19),)), 80)).save(path)
    return str(path)


def test_a_list_of_picture_and_words_is_answered(wrapper, star):
    message = [{"type": "image", "value": star}, {"type": "text", "value": "What color is the star?"}]
    assert wrapper.generate_inner(message, dataset="MMBench") == "blue"
    assert wrapper.generate_inner([star, "What color is the star?"]) == "blue"
    assert isinstance(wrapper.generate_inner("What color is a star?"), str)


def test_a_conversation_is_continued(wrapper, star):
    turns = [
        {
            "role": "user",
            "content": [{"type": "image", "value": star}, {"type": "text", "value": "Is there a star?"}],
        },
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "What color is the star?"},
    ]
    assert wrapper.chat_inner(turns, dataset="MMDU") == "blue"


def test_every_form_of_a_message_becomes_the_same_parts(star):
    text, image = {"type": "text", "text": "hi"}, {"type": "image", "image": star}
    assert parts("hi") == parts({"type": "text", "value": "hi"}) == parts(["hi"]) == [text]
    assert parts(star) == parts({"type": "image", "value": star}) == [image]
    assert parts([star, "hi"]) == parts([{"type": "image", "value": star}, {"type": "text", "value": "hi"}])
    assert parts("missing.png") == [{"type": "text", "text": "missing.png"}]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([{"type": "video", "value": "film.mp4"}], "reads text and image, got 'video'"),
        ([{"type": "text", "text": "hi"}], "got {'type': 'text', 'text': 'hi'}"),
        ([["hi"]], "expected words or"),
        (3, "expected words, a mapping or a list"),
    ],
)
def test_a_message_of_another_form_is_refused(message, said):
    with pytest.raises(ValueError, match=said):
        parts(message)


def test_questions_are_the_harness_unless_asked_otherwise(wrapper):
    assert wrapper.use_custom_prompt("MMBench") is False
    assert Wrapper(wrapper.speaker.model, prompts="cambrian").use_custom_prompt("MMBench") is True
    with pytest.raises(ValueError, match="did you mean 'cambrian'"):
        Wrapper(wrapper.speaker.model, prompts="cambria")


def test_cambrians_wording_lists_the_options_that_are_there():
    line = {
        "question": "Which?",
        "hint": float("nan"),
        "A": "red",
        "B": 3,
        "C": float("nan"),
        "D": "",
        "index": 7,
    }
    assert worded(line) == f"Which?\nA. red\nB. 3\n{LETTER}"
    assert worded({"question": "How many?", "hint": "Count."}) == f"Count.\nHow many?\n{SHORT}"


@pytest.fixture
def vlmeval(monkeypatch):
    """Stand-ins for VLMEvalKit's table of models and its base class."""

    class BaseModel:
        INTERLEAVE = False

        def dump_image(self, line, dataset):
            return [f"/images/{dataset}/{line['index']}.jpg"]

        def generate(self, message, dataset=None):
            return self.generate_inner(message, dataset)

    content = {"vlmeval": {}, "vlmeval.vlm": {}, "vlmeval.config": {"supported_VLM": {}}}
    content["vlmeval.vlm.base"] = {"BaseModel": BaseModel}
    for name, values in content.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return sys.modules["vlmeval.config"].supported_VLM


def test_a_registered_model_is_made_by_the_harness_and_builds_prompts(vlmeval, wrapper, star, tmp_path):
    model = wrapper.speaker.model
    register("unimm-tiny", model=model, prompts="cambrian")
    made = vlmeval["unimm-tiny"]()
    assert made.INTERLEAVE
    assert made.generate([star, "What color is the star?"], dataset="MMStar") == "blue"
    assert made.build_prompt({"index": 3, "question": "Which?", "A": "x", "B": "y"}, "MMStar") == [
        {"type": "image", "value": "/images/MMStar/3.jpg"},
        {"type": "text", "value": f"Which?\nA. x\nB. y\n{LETTER}"},
    ]
    register("painter", model=model, mode="draw", folder=tmp_path, drawing={"num_inference_steps": 2})
    painter = vlmeval["painter"]()
    paths = [json.loads(painter.generate("a red star", dataset="T2I"))["images"][0] for _ in range(2)]
    assert paths == [str(tmp_path / "T2I-0-0.png"), str(tmp_path / "T2I-1-0.png")]


def test_without_the_harness_registering_says_how_to_get_it():
    with pytest.raises(ImportError, match="clone https://github.com/open-compass/VLMEvalKit"):
        register("unimm-tiny")
