"""Questions to answers: in batches whose make-up nobody's rank or interruption changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from unimm.evaluation.vqa.pictures import Picture, PictureError, opened, sha256
from unimm.evaluation.vqa.prompts import Form
from unimm.evaluation.vqa.questions import Question

_TAG = re.compile(r"<image (\d+)>")


@dataclass(frozen=True)
class Way:
    """How questions are asked in a run."""

    form: Form
    max_new_tokens: int
    needs_picture: bool
    batch_size: int
    pictures: str = "all"
    """Of a question with several, "all" or the "first" alone."""


def batches(questions: Iterable[Question], size: int) -> Iterator[tuple[Question, ...]]:
    """Yield questions `size` at a time, in order; the last batch may be smaller."""
    waiting = iter(questions)
    while batch := tuple(islice(waiting, size)):
        yield batch


def answered(model: Any, batch: Sequence[Question], way: Way) -> list[dict[str, Any]]:
    """Return a record for each question of a batch.

    A picture that cannot be read, or a question that the model refuses (too long, say), gives a record with
    `error` in the place of `prediction`.

    Args:
        model: with UniMM's `answer`, and its `chat` for questions without a picture or with several.
        batch: asked together.
        way: how.
    """
    records = [{**question.record(), "prompt": way.form(question)} for question in batch]
    shown: list[int] = []
    pictures: list[Any] = []
    for at, (question, record) in enumerate(zip(batch, records, strict=True)):
        try:
            images, digest = _pictures(question, way)
        except PictureError as error:
            record["error"] = str(error)
            continue
        if digest is not None:
            record["image_sha256"] = digest
        if len(images) == 1:
            shown.append(at)
            pictures.append(images[0])
            continue
        content = parts(record["prompt"], images)
        _tell(record, lambda content=content: _in_chat(model, content, way.max_new_tokens))
    _ask_together(model, [records[at] for at in shown], pictures, way.max_new_tokens)
    return records


def parts(prompt: str, images: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a prompt in the common chat format with each picture where its tag <image N> first stands.

    Pictures without a tag stand before the text; a tag of no picture stays as it is.
    """
    found: list[dict[str, Any]] = []
    placed: set[int] = set()
    start = 0
    for tag in _TAG.finditer(prompt):
        number = int(tag[1])
        if number in placed or not 1 <= number <= len(images):
            continue
        placed.add(number)
        found += _text(prompt[start : tag.start()])
        found.append({"type": "image", "image": images[number - 1]})
        start = tag.end()
    before = [
        {"type": "image", "image": image} for number, image in enumerate(images, 1) if number not in placed
    ]
    return [*before, *found, *_text(prompt[start:])]


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text.strip() else []


def _pictures(question: Question, way: Way) -> tuple[list[Any], str | None]:
    """Return the pictures that are shown, and the digest of their bytes one after the other."""
    if question.picture is None:
        if way.needs_picture:
            raise PictureError("the data has no picture for this question")
        return [], None
    wanted: list[Picture] = [question.picture, *(question.more if way.pictures == "all" else ())]
    data = [picture.read() for picture in wanted]
    return [opened(each) for each in data], sha256(b"".join(data))


def _ask_together(model: Any, records: list[dict[str, Any]], pictures: list[Any], longest: int) -> None:
    """Put predictions into records; where the model refuses the batch, each is asked alone."""
    if not records:
        return
    try:
        said = model.answer(pictures, [record["prompt"] for record in records], max_new_tokens=longest)
    except ValueError:
        for record, image in zip(records, pictures, strict=True):
            _tell(
                record,
                lambda record=record, image=image: model.answer(
                    [image], [record["prompt"]], max_new_tokens=longest
                )[0],
            )
        return
    for record, text in zip(records, said, strict=True):
        record["prediction"] = text


def _in_chat(model: Any, content: Sequence[dict[str, Any]], longest: int) -> str:
    return model.chat([{"role": "user", "content": list(content)}], max_new_tokens=longest, max_images=0).text


def _tell(record: dict[str, Any], ask: Any) -> None:
    try:
        record["prediction"] = ask()
    except ValueError as error:
        record["error"] = f"the model refused: {error}"
