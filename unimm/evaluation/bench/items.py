"""The prompts of a benchmark: what is read, what identifies it, and which of it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unimm.evaluation.scorers.records import field as field_of
from unimm.whole import read_json, read_lines

PLACE = "{prompt}"


@dataclass(frozen=True)
class Item:
    """One prompt of a benchmark."""

    index: int
    """Its place in the benchmark's whole list; its seeds follow from it."""
    name: str
    """What its files are called."""
    prompt: str
    task: str | None
    """The task it counts for where the benchmark says so per prompt; else None."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The benchmark's own line about it."""
    asked: str | None = None
    """The rewritten prompt that is drawn in its stead; judged is the original."""

    @property
    def words(self) -> str:
        """What is drawn, before the template."""
        return self.prompt if self.asked is None else self.asked


@dataclass(frozen=True)
class PromptSet:
    """The prompts that a run uses, and what they were read from."""

    items: tuple[Item, ...]
    total: int
    """How many the benchmark has; fewer items are a part of it."""
    sha256: str
    """Of what was read."""
    known: str | None
    """The name of the recorded set that it equals, such as a repository and commit; None for another."""
    rewritten: str | None = None
    """The sha256 of the file of rewritten prompts, if there is one."""

    def facts(self) -> dict[str, Any]:
        """Return what a run and a card say of the prompts."""
        return {
            "sha256": self.sha256,
            "known": self.known,
            "used": len(self.items),
            "total": self.total,
            "rewritten": self.rewritten is not None,
            "rewritten_sha256": self.rewritten,
        }


def git_blob(data: bytes) -> str:
    """Return the id that git gives to a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    """Return the sha256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def recognised(
    name: str, got: str, recorded: Mapping[str, str], allow_other: bool, what: str = "prompts"
) -> str | None:
    """Return the name of the recorded set with this hash; None for another one, where that is allowed.

    Args:
        name: of the file or folder, for the message.
        got: its hash.
        recorded: names by hash.
        allow_other: whether a set that nobody recorded may be used.
        what: what is in it.

    Raises:
        ValueError: another set, and it was not allowed.
    """
    if got in recorded or allow_other:
        return recorded.get(got)
    known = ", ".join(f"{each} ({label})" for each, label in recorded.items())
    raise ValueError(
        f"{name}: expected {what} with the hash {known}, got {got}; numbers on others do not compare: "
        f"--allow-other-prompts takes them, and the card says so"
    )


def items_of(rows: Iterable[tuple[str, str, str | None, Mapping[str, Any]]], source: str) -> tuple[Item, ...]:
    """Return items of (name, prompt, task, facts) in order.

    Raises:
        ValueError: no row, an empty prompt, or two items of one name.
    """
    items = [Item(index, *row) for index, row in enumerate(rows)]
    names = [item.name for item in items]
    if not items:
        raise ValueError(f"{source}: expected prompts, found none")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{source}: expected every prompt once, found {twice!r} more than once")
    for item in items:
        if not item.prompt.strip():
            raise ValueError(f"{source}: {item.name}: expected a prompt, got an empty text")
    return tuple(items)


def required(row: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Refuse a line of a benchmark's file that lacks a field or has one of another kind.

    Raises:
        ValueError: which field, what was expected and what was found.
    """
    for name, kinds in fields.items():
        field_of(row, name, kinds, where)


def limited(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Return at most `limit` items, the first of each task in turn, in the benchmark's order."""
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 1:
        raise ValueError(f"--limit: expected at least 1, got {limit}")
    ranks: dict[str | None, int] = {}
    order = []
    for item in items:
        rank = ranks[item.task] = ranks.get(item.task, -1) + 1
        order.append((rank, item.index))
    chosen: Collection[int] = {index for _, index in sorted(order)[:limit]}
    return tuple(item for item in items if item.index in chosen)


def rewritten_prompts(found: PromptSet, path: Path) -> PromptSet:
    """Return the set with rewritten prompts to draw; it is still judged by the original ones.

    Args:
        found: the whole set.
        path: a text file with one prompt per line, lines of JSON with the field "prompt", or one JSON object
            {name: prompt}.

    Raises:
        ValueError: another number of prompts than there are, or a name without one.
    """
    names = [item.name for item in found.items]
    if path.suffix == ".json":
        table = read_json(path)
        texts = [table.get(name) for name in names]
    elif path.suffix == ".jsonl":
        texts = [line.get("prompt") for line in read_lines(path)]
    else:
        texts = path.read_text(encoding="utf-8").splitlines()
    if len(texts) != len(names):
        raise ValueError(f"{path}: expected {len(names)} rewritten prompts, got {len(texts)}")
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{path}: expected a rewritten prompt for {name!r}, got {text!r}")
    items = tuple(replace(item, asked=text) for item, text in zip(found.items, texts, strict=True))
    return replace(found, items=items, rewritten=sha256(path.read_bytes()))


def check_template(template: str) -> str:
    """Return a template with exactly one place for the prompt."""
    if template.count(PLACE) != 1:
        raise ValueError(f"--template: expected {PLACE} in it once, got {template!r}")
    return template
