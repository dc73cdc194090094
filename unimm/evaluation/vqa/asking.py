"""Questions to answers: in batches whose make-up nobody's rank or interruption changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from unimm.evaluation.vqa.pictures import PictureError, opened, sha256
from unimm.evaluation.vqa.prompts import Form
from unimm.evaluation.vqa.questions import Question


@dataclass(frozen=True)
class Way:
    """How questions are asked in a run."""

    form: Form
    max_new_tokens: int
    needs_picture: bool
    batch_size: int


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
        model: with UniMM's `answer`, and its `chat` for questions without a picture.
        batch: asked together.
        way: how.
    """
    records = [{**question.record(), "prompt": way.form(question)} for question in batch]
    shown: list[int] = []
    pictures: list[Any] = []
    for at, (question, record) in enumerate(zip(batch, records, strict=True)):
        try:
            image, digest = _picture(question, way.needs_picture)
        except PictureError as error:
            record["error"] = str(error)
            continue
        if image is None:
            _tell(record, lambda record=record: _without_picture(model, record["prompt"]))
            continue
        record["image_sha256"] = digest
        shown.append(at)
        pictures.append(image)
    _ask_together(model, [records[at] for at in shown], pictures, way.max_new_tokens)
    return records


def _picture(question: Question, needed: bool) -> tuple[Any, str | None]:
    if question.picture is None:
        if needed:
            raise PictureError("the data has no picture for this question")
        return None, None
    data = question.picture.read()
    return opened(data), sha256(data)


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


def _without_picture(model: Any, prompt: str) -> str:
    return model.chat([{"role": "user", "content": [{"type": "text", "text": prompt}]}]).text


def _tell(record: dict[str, Any], ask: Any) -> None:
    try:
        record["prediction"] = ask()
    except ValueError as error:
        record["error"] = f"the model refused: {error}"
