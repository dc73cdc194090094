"""Benchmarks of the built-in world: its questions in the rows of the published data sets.

Pictures are rendered, answers exact. Yes and no come in pairs about one picture, choices with letters, short
answers with ten annotators who do not always agree. What rows look like is as on the hub, so that a model is
measured over the very road of the real data.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from unimm.evaluation.vqa.rows import Row
from unimm.evaluation.vqa.scenes import PAIRS, annotators, choice, short, two_looks, yes_no_pair
from unimm.evaluation.vqa.sources import Data
from unimm.evaluation.vqa.tasks import Task
from unimm.tables import pick
from unimm.world.render import render
from unimm.world.scene import Scene

DEFAULT_PICTURES = 200
PIXELS = 64  # a side; models resize to what they take
_ASKED = 7003  # keeps these random numbers apart from those of training streams and of `unimm eval world`

Fields = dict[str, Any]


def open_world(task: Task, seed: int, limit: int | None) -> Data:
    """Return a benchmark's rows about rendered scenes.

    Args:
        task: which.
        seed: of scenes and questions.
        limit: how many pictures; 200 if None.

    Raises:
        ValueError: a benchmark that the world cannot ask.
    """
    make = pick("--data world: benchmark", task.name, MAKERS)
    count = DEFAULT_PICTURES if limit is None else limit

    def rows() -> Iterator[Row]:
        number = 0
        for index in range(count):
            for fields in make(index, np.random.default_rng([_ASKED, seed, index])):
                yield Row(fields, f"world, picture {index}", None, number, str(fields.pop("config", "")))
                number += 1

    return Data(rows, task.hub, {"kind": "world", "seed": seed, "pictures": count, "pixels": PIXELS})


def picture(scene: Scene) -> Fields:
    """Return a picture as datasets keep it undecoded."""
    file = io.BytesIO()
    Image.fromarray(render(scene, PIXELS)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _mme(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    category = tuple(PAIRS)[index % len(PAIRS)]
    scene, yes, no = yes_no_pair(rng, category)
    image = {"question_id": f"{category}/{index:06d}.png", "image": picture(scene), "category": category}
    yield {**image, "question": yes, "answer": "Yes"}
    yield {**image, "question": no, "answer": "No"}


def _pope(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, yes, no = yes_no_pair(rng, "existence")
    shared = {"category": "random", "image_source": f"world_{index:06d}", "image": picture(scene)}
    for at, (question, answer) in enumerate(((yes, "yes"), (no, "no"))):
        yield {**shared, "question_id": str(2 * index + at + 1), "question": question, "answer": answer}


def _ai2d(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, asked = choice(rng)
    yield {
        "question": asked.text, "options": list(asked.options), "answer": str(asked.right),
        "image": picture(scene),
    }  # fmt: skip


def _seed(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, asked = choice(rng)
    options = {f"choice_{letter}": text for letter, text in zip("abcd", asked.options, strict=True)}
    yield {
        "question_id": str(index), "question": asked.text, "answer": asked.letter, "data_type": "image",
        "question_type_id": 3, "image": [picture(scene)], **options,
    }  # fmt: skip


def _mmbench(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, asked = choice(rng)
    image = picture(scene)
    for step in range(len(asked.options)):
        turned = asked.rotated(step)
        yield {
            "index": index + 1_000_000 * step, "question": turned.text, "hint": "nan",
            **dict(zip("ABCD", turned.options, strict=True)), "answer": turned.letter, "image": image,
            "category": turned.category, "source": "world", "L2-category": "world",
        }  # fmt: skip


def _mmstar(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, asked = choice(rng)
    listed = ", ".join(f"{letter}: {text}" for letter, text in zip("ABCD", asked.options, strict=True))
    yield {
        "index": index, "question": f"{asked.text}\nOptions: {listed}", "answer": asked.letter,
        "image": picture(scene), "category": "fine-grained perception", "l2_category": asked.category,
    }  # fmt: skip


def _mmvp(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    """Two pictures, one question of two options, opposite answers."""
    scenes = two_looks(rng)
    options = [scene.things[0].colour for scene in scenes]
    for at, scene in enumerate(scenes):
        yield {
            "Index": 2 * index + at + 1, "Question": f"What color is the {scene.things[0].shape}?",
            "Options": f"(a) {options[0]} (b) {options[1]}", "Correct Answer": f"({'ab'[at]})",
            "image": picture(scene),
        }  # fmt: skip


def _scienceqa(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, asked = choice(rng)
    yield {
        "image": picture(scene), "question": asked.text, "choices": list(asked.options),
        "answer": asked.right, "hint": "", "grade": "grade1", "subject": "natural science",
    }  # fmt: skip


def _mmmu(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    """Three choices, then an open question."""
    own = {"id": f"validation_World_{index}"}
    if index % 4 < 3:
        scene, asked = choice(rng)
        own |= {"question": f"<image 1> {asked.text}", "options": repr(list(asked.options))}
        own |= {"answer": asked.letter, "question_type": "multiple-choice"}
    else:
        scene, text, answer, _ = short(rng)
        own |= {"question": f"<image 1> {text}", "options": "[]", "answer": answer, "question_type": "open"}
    yield {**own, "image_1": picture(scene), "image_2": None}


def _textvqa(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, text, answer, _ = short(rng)
    tokens = [] if scene.writing is None else [scene.writing.text]
    yield {
        "question_id": index, "image_id": f"world_{index:06d}", "question": text, "image": picture(scene),
        "answers": annotators(answer, rng), "ocr_tokens": tokens,
    }  # fmt: skip


def _vqav2(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, text, answer, kind = short(rng)
    said = annotators(answer, rng)
    yield {
        "question_id": index, "image_id": index, "question": text, "image": picture(scene),
        "answers": [{"answer": each, "answer_id": number} for number, each in enumerate(said, 1)],
        "answer_type": kind,
    }  # fmt: skip


def _gqa(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, text, answer, _ = short(rng)
    yield {
        "id": str(index),
        "imageId": str(index),
        "question": text,
        "answer": answer,
        "image": picture(scene),
    }


def _chartqa(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, text, answer, _ = short(rng)
    kind = ("human_test", "augmented_test")[index % 2]
    yield {"type": kind, "question": text, "answer": answer, "image": picture(scene)}


def _documents(index: int, rng: np.random.Generator) -> Iterator[Fields]:
    scene, text, answer, _ = short(rng)
    yield {"questionId": str(index), "question": text, "answers": [answer], "image": picture(scene)}


MAKERS: dict[str, Callable[[int, np.random.Generator], Iterator[Fields]]] = {
    "mme": _mme,
    "pope": _pope,
    "ai2d": _ai2d,
    "seed": _seed,
    "mmbench": _mmbench,
    "mmstar": _mmstar,
    "mmvp": _mmvp,
    "scienceqa": _scienceqa,
    "mmmu": _mmmu,
    "textvqa": _textvqa,
    "vqav2": _vqav2,
    "gqa": _gqa,
    "chartqa": _chartqa,
    "docvqa": _documents,
    "infovqa": _documents,
    "stvqa": _documents,
}
"""Rows about one picture, or one pair of pictures, by benchmark."""
