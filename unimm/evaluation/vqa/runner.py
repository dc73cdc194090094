"""A benchmark of questions from data to card: `unimm eval vqa`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unimm.evaluation.card import write_card
from unimm.evaluation.generate import Share
from unimm.evaluation.run import model_facts, open_run
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.scorers.answering.judging import POLICIES
from unimm.evaluation.store import stage
from unimm.evaluation.vqa import card as cards
from unimm.evaluation.vqa.answers import Answers, Record
from unimm.evaluation.vqa.asking import Way, answered, batches
from unimm.evaluation.vqa.page import card_page
from unimm.evaluation.vqa.questions import Question
from unimm.evaluation.vqa.sources import Data, open_data
from unimm.evaluation.vqa.tasks import TASKS, Asking, Task
from unimm.request import positive
from unimm.tables import pick
from unimm.whole import write_whole

SEVERAL = "several pictures"
PICTURES = {"first": "the first alone", "all": "all, where the prompt names them"}


@dataclass(frozen=True)
class Settings:
    """What is asked, and how answers count."""

    bench: str
    data: str
    """ "world", a .tsv file, a folder, or a data set on the hub."""
    protocol: str | None = None  # None: the benchmark's first
    split: str | None = None  # None: the benchmark's own
    limit: int | None = None  # pictures with all their questions; None: all
    ocr: bool | None = None  # None: as the protocol does
    batch_size: int = 16
    unparsed: str = "wrong"  # or "random", "first"
    seed: int = 0  # of the built-in world's questions
    pictures: str | None = None  # of questions with several: first, all; None: as the protocol does
    revision: str | None = None  # of a data set on the hub

    def __post_init__(self) -> None:
        pick("--protocol", self.way, self.task.asking)
        positive("--batch-size", self.batch_size)
        if self.pictures is not None:
            pick("--pictures", self.pictures, PICTURES)
        pick("--unparsed", self.unparsed, POLICIES)
        if self.task.free and self.unparsed != "wrong":
            raise ValueError(
                f"--unparsed: answers to {self.bench} are free texts, of which none can be guessed; expected "
                f"wrong, got {self.unparsed!r}"
            )
        if self.limit is not None:
            positive("--limit", self.limit)
        if self.ocr and self.asking.with_tokens is None:
            raise ValueError(f"--ocr: {self.bench} has no prompt with OCR tokens under protocol {self.way!r}")

    @property
    def task(self) -> Task:
        """The benchmark."""
        return pick("--bench", self.bench, TASKS)

    @property
    def way(self) -> str:
        """The protocol's name."""
        return next(iter(self.task.asking)) if self.protocol is None else self.protocol

    @property
    def asking(self) -> Asking:
        """The protocol's way to ask."""
        return self.task.asking[self.way]

    @property
    def scored_as(self) -> str:
        """The scorer's protocol."""
        return self.asking.scored_as or self.way

    @property
    def shown(self) -> str:
        """Which of several pictures are shown."""
        return self.asking.pictures if self.pictures is None else self.pictures

    @property
    def with_tokens(self) -> bool:
        """Whether OCR tokens are in the prompt."""
        return self.asking.tokens if self.ocr is None else self.ocr


@dataclass
class Asked:
    """What the data turned out to be, once its rows were read."""

    order: list[str] = field(default_factory=list)
    """The ids of all questions."""
    digest: Any = field(default_factory=hashlib.sha256)
    left_out: Counter[str] = field(default_factory=Counter)
    several: int = 0
    """Questions with several pictures that are asked."""


def run(
    model: Any,
    settings: Settings,
    out: Path,
    name: str = "",
    share: Share | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any] | None:
    """Ask a model every question that has no answer yet; when all have one, score them.

    An answer depends on the model, the question and the batch size, not on ranks or interruptions. Records
    are in `records.jsonl` (one per process), the run in `run.json`, the result in `card.json` and
    `card.html`.

    Args:
        model: anything with UniMM's public face.
        settings: what, and how.
        out: the run's folder; another call with the same model and settings goes on.
        name: of the model, for the card.
        share: which part is this process's; all of it if none is given.
        say: told the card as a table.

    Returns:
        the card; None while another process has not finished its share.

    Raises:
        FileNotFoundError: no such data.
        ValueError: data that cannot be read, a folder of another run, or no question that could be answered.
        OSError: the disk is full; whatever was written is whole.
    """
    share = share or Share()
    data = data_of(settings)
    there = open_run(out, identity(settings, data, model_facts(model, name)))
    answers, asked = Answers(out), Asked()
    _ask(model, settings, data, answers, share, asked)
    records = answers.read(share)
    lacking = [each for each in asked.order if each not in records]
    if lacking:
        say(f"{len(asked.order) - len(lacking)} of {len(asked.order)} questions answered; others are at it")
        return None
    return score(settings, there, [records[each] for each in asked.order], asked, data, out, say)


def data_of(settings: Settings) -> Data:
    """Return the data that the settings name."""
    return open_data(
        settings.task, settings.data, settings.split, settings.seed, settings.limit, settings.revision
    )


def identity(settings: Settings, data: Data, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes two runs one: everything an answer depends on."""
    return {
        "benchmark": settings.bench,
        "protocol": settings.way,
        "data": dict(data.facts),
        "limit": settings.limit,
        "ocr": settings.with_tokens,
        "pictures": settings.shown,
        "template": _template(settings),
        "max_new_tokens": settings.asking.max_new_tokens,
        "decoding": "greedy",
        "batch_size": settings.batch_size,
        "model": dict(model),
    }


def form_of(settings: Settings) -> Callable[[Question], str]:
    """Return how a question becomes a prompt."""
    asking = settings.asking
    return asking.with_tokens if settings.with_tokens and asking.with_tokens else asking.form


def _template(settings: Settings) -> str:
    """Return the prompt of a question whose parts are named in braces."""
    named = Question("", "{question}", "", None, "", "", ("{A}", "{B}"), "{hint}", ("{tokens}",))
    return form_of(settings)(named)


def questions_of(settings: Settings, data: Data, asked: Asked) -> Iterator[Question]:
    """Yield the questions that are asked, and note what the data is.

    Raises:
        ValueError: no rows, rows of another benchmark, or an id that stands twice.
    """
    seen: set[str] = set()
    groups: dict[str, None] = {}
    for row in data.rows():
        question = data.schema(row)
        group = str(question.facts.get("pair", question.image))
        if settings.limit is not None and group not in groups and len(groups) >= settings.limit:
            continue
        groups.setdefault(group)
        if question.id in seen:
            raise ValueError(
                f"{row.where}: the id {question.id!r} stands twice; is a part of the data there twice?"
            )
        seen.add(question.id)
        if question.pictures > 1:
            if not settings.task.several:
                asked.left_out[SEVERAL] += 1
                continue
            asked.several += 1
        asked.order.append(question.id)
        asked.digest.update(json.dumps([question.text, question.record()], sort_keys=True).encode())
        yield question
    if not asked.order:
        raise ValueError(f"--data {settings.data}: expected questions, found none")


def _ask(model: Any, settings: Settings, data: Data, answers: Answers, share: Share, asked: Asked) -> None:
    """Answer this process's share of what is not answered."""
    way = Way(
        form_of(settings),
        settings.asking.max_new_tokens,
        settings.task.needs_picture,
        settings.batch_size,
        settings.shown,
    )
    done = answers.read(share)
    total = settings.limit or settings.task.size or 0
    questions = questions_of(settings, data, asked)
    with stage(f"asking {settings.bench}", total) as advance:
        for number, batch in enumerate(batches(questions, settings.batch_size)):
            if number % share.world_size != share.rank:
                continue
            if not all("prediction" in done.get(question.id, {}) for question in batch):
                made = answered(model, batch, way)
                answers.append(share, [record for record in made if _is_news(record, done)])
            advance(len(batch))


def _is_news(record: Record, done: Mapping[str, Record]) -> bool:
    """Return whether a record says more than is known: an answer where there was none, or another failure."""
    before = done.get(record["id"])
    return before is None or ("prediction" not in before and record != before)


def score(
    settings: Settings,
    there: Mapping[str, Any],
    records: list[Record],
    asked: Asked,
    data: Data,
    out: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Score the records of a finished run and write its card.

    Raises:
        ValueError: nothing was answered.
    """
    failed = [record for record in records if "error" in record]
    if len(failed) == len(records):
        raise ValueError(
            f"{settings.bench}: none of {len(records)} questions was answered; "
            f"the first: {failed[0]['error']}"
        )
    scored = SCORERS[settings.bench].score(records, settings.scored_as, unparsed=settings.unparsed)
    facts = {
        "n": len(records),
        "questions_sha256": asked.digest.hexdigest(),
        "pictures_sha256": _digest_of(record.get("image_sha256", "") for record in records),
        "left_out": dict(asked.left_out),
        "several_pictures": asked.several,
        "policy": settings.unparsed,
        "settings": asdict(settings),
        "errors": dict(Counter(record["error"] for record in failed).most_common(10)),
    }
    card = cards.make_card(settings.task, (settings.way, settings.scored_as), there, scored, facts)
    write_card(out, card)
    write_whole(out / "card.html", card_page(card, records, scored.each, _first_pictures(settings, data)))
    say(cards.table(card))
    return card


def _digest_of(texts: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _first_pictures(settings: Settings, data: Data) -> dict[str, Any]:
    """Return the pictures of the first questions, for the page."""
    from unimm.evaluation.vqa.page import SHOWN

    found = {}
    for question in questions_of(settings, data, Asked()):
        if question.picture is not None:
            found[question.id] = question.picture
        if len(found) >= SHOWN:
            break
    return found
