"""The bridge to lmms-eval by the harness's contract; the harness itself runs in `make test-lmms-eval`."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from unimm.evaluation.bridges import lmms_eval as bridge
from unimm.world.render import render
from unimm.world.scene import Scene, Thing

DOCS = [{"shape": shape} for shape in ("circle", "star", "heart")]


@pytest.fixture
def harness(monkeypatch):
    """Stand-ins for the two modules of lmms-eval that the bridge imports, and nothing more."""

    class Lmms:
        is_simple = True

        def __init__(self):
            self._rank, self._world_size, self.task_dict = 0, 1, {}
            self.kept = []
            self.cache_hook = SimpleNamespace(add_partial=lambda *args: self.kept.append(args))

    def manifest(model_id, simple_class_path=None, chat_class_path=None, aliases=()):
        return SimpleNamespace(model_id=model_id, simple=simple_class_path, chat=chat_class_path)

    modules = {
        "lmms_eval": {}, "lmms_eval.api": {}, "lmms_eval.models": {}, "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.models.registry_v2": {"ModelManifest": manifest},
    }  # fmt: skip
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    yield Lmms
    vars(bridge).pop(bridge.CLASS, None)


def made(harness, **options):
    model = getattr(bridge, bridge.CLASS)(**options)
    model.task_dict = {"shapes": {"test": DOCS}}
    return model


def to_messages(doc):
    image = Image.fromarray(render(Scene("sky", (Thing(doc["shape"], "red", 0.5, 0.5, 0.19),)), 80))
    content = [{"type": "image", "url": image}, {"type": "text", "text": "Is there a star?"}]
    return [{"role": "user", "content": content}]


def request(doc_id, messages=to_messages, **options):
    return SimpleNamespace(args=("context", messages, options, doc_id, "shapes", "test"))


def test_the_entry_point_leads_to_a_chat_class_on_the_harness_base(harness):
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, _, function = project["entry-points"]["lmms_eval.models"]["unimm"].partition(":")
    assert (module, function) == (bridge.__name__, "manifest")
    found = bridge.manifest()
    assert (found.model_id, found.simple) == ("unimm", None)
    module, _, name = found.chat.rpartition(".")
    made = getattr(sys.modules[module], name)
    assert issubclass(made, harness)
    assert made.is_simple is False
    assert made.__module__ == module


def test_requests_are_answered_in_order_and_handed_to_the_cache(harness):
    model = made(harness, batch_size="2", device="cpu")
    assert (model.device.type, model.speaker.batch_size) == ("cpu", 2)
    requests = [request(i, max_new_tokens=8, until=["\n\n"], temperature=0) for i in (1, 0, 2)]
    assert model.generate_until(requests) == ["yes", "no", "no"]
    assert model.kept[0] == ("generate_until", ("context", requests[0].args[2]), "yes")


def test_a_generation_task_gets_the_json_string(harness, tmp_path):
    model = made(harness, mode="draw", images=str(tmp_path), num_inference_steps=2)

    def messages(doc):
        return [{"role": "user", "content": [{"type": "text", "text": f"a red {doc['shape']}"}]}]

    (reply,) = model.generate_until([request(2, messages)])
    assert json.loads(reply) == {"text": "", "images": [str(tmp_path / "shapes-test-2-0.png")]}
    assert (tmp_path / "shapes-test-2-0.png").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.7}, "answers greedily.*--gen_kwargs"),
        ({"temperature": 0.7, "do_sample": True}, "answers greedily"),
        ({"num_beams": 4}, "answers greedily"),
    ],
)
def test_sampling_is_refused_and_not_quietly_left_out(harness, options, said):
    with pytest.raises(ValueError, match=said):
        made(harness).generate_until([request(0, **options)])


def test_options_of_greedy_decoding_are_taken_and_unread_ones_named_once(harness, caplog):
    model = made(harness)
    given = {
        "do_sample": False,
        "temperature": 0.7,
        "num_beams": 1,
        "top_p": None,
        "image_aspect_ratio": "pad",
    }
    model.generate_until([request(0, **given), request(1, **given)])
    assert [record.message for record in caplog.records] == [
        "generation options that unimm has no use for: image_aspect_ratio, top_p"
    ]


def test_other_media_and_other_kinds_of_requests_are_refused(harness):
    model = made(harness)
    film = [{"role": "user", "content": [{"type": "video", "url": "film.mp4"}]}]
    with pytest.raises(ValueError, match="shapes: unimm sees text and pictures, the task shows video"):
        model.generate_until([request(0, lambda doc: film)])
    for ask in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError, match="generate_until alone"):
            ask([])
    with pytest.raises(ValueError, match="batch_size: expected a number, got 'auto'"):
        made(harness, batch_size="auto")


def test_ranks_are_those_of_the_launcher(harness, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    model = made(harness)
    assert (model._rank, model._world_size) == (3, 4)


def test_importing_the_bridges_needs_neither_harness():
    program = (
        "import sys, unimm.evaluation.bridges.lmms_eval, unimm.evaluation.bridges.vlmevalkit;"
        "assert not {'lmms_eval', 'vlmeval'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_other_names_in_the_module_are_missing_as_ever():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        bridge.Nothing  # noqa: B018
