"""From answers to right and wrong, and from these to a score."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from unimm.evaluation.scored import Scored, Totals, no_totals
from unimm.evaluation.scorers.answering.items import Gold, Item, Record, letter, read_items, yes_or_no
from unimm.evaluation.scorers.answering.parsers.letters import Options
from unimm.tables import expect_known, pick

Reader = Callable[[str, Options], str | None]
"""Reads an option's letter; what is no option is unparsed."""
Guess = Callable[[Sequence[str], random.Random], str | None]

POLICIES: dict[str, Guess] = {
    "wrong": lambda letters, rng: None,
    "random": lambda letters, rng: rng.choice(letters),
    "first": lambda letters, rng: letters[0],
}
"""What an unparsed answer counts as. "random" draws from one stream in the order of the records, as MMMU's
code does with seed 42: the only thing here that depends on that order."""
OFFICIAL_SEED = 42


@dataclass(frozen=True)
class Judged:
    """Items, what each is worth, 0 to 1, and what was read of it."""

    items: tuple[Item, ...]
    values: tuple[float, ...]
    said: tuple[str | None, ...]
    """What was read or guessed; None where nothing was."""
    unparsed: int

    @property
    def failed(self) -> int:
        """Items without an answer."""
        return sum(item.failed for item in self.items)


def judge_choices(
    records: Sequence[Record], read: Reader, unparsed: str = "wrong", seed: int = OFFICIAL_SEED
) -> Judged:
    """Compare the letter read from each answer with the right one.

    Args:
        records: `gold` is a letter.
        unparsed: of POLICIES, for answers in which no option is read.
        seed: of "random".
    """
    items = read_items(records, letter)
    return judge_read(items, [read(item.prediction, item.options) for item in items], unparsed, seed)


def judge_yes_no(
    records: Sequence[Record],
    read: Callable[[str], str | None],
    unparsed: str = "wrong",
    seed: int = OFFICIAL_SEED,
) -> Judged:
    """Compare yes or no as read from each answer with the right one; the rest as `judge_choices`."""
    items = read_items(records, yes_or_no)
    return judge_read(items, [read(item.prediction) for item in items], unparsed, seed, ("yes", "no"))


def judge_read(
    items: tuple[Item, ...],
    found: Sequence[str | None],
    unparsed: str,
    seed: int,
    among: Sequence[str] | None = None,
) -> Judged:
    """Compare what was read with what is right; `among` are the answers possible, else the item's letters."""
    guess, rng = pick("unparsed", unparsed, POLICIES), random.Random(seed)
    said, missed = [], 0
    for item, read in zip(items, found, strict=True):
        possible = tuple(item.options) if among is None else among
        if item.failed:
            read = None
        elif read not in possible:
            missed += 1
            read = guess(possible, rng)
        said.append(read)
    values = tuple(float(read == item.gold) for item, read in zip(items, said, strict=True))
    return Judged(items, values, tuple(said), missed)


def judge_texts(
    records: Sequence[Record], gold: Gold, worth: Callable[[Item], float], unparsed: str = "wrong"
) -> Judged:
    """Return what each free answer is worth; an answer without a word is unparsed.

    Raises:
        ValueError: another policy than "wrong": there are no options to guess from.
    """
    expect_known("unparsed", unparsed, ("wrong",))
    items = read_items(records, gold)
    values = tuple(0.0 if item.failed else float(worth(item)) for item in items)
    blank = sum(not item.failed and not item.prediction.strip() for item in items)
    return Judged(items, values, tuple(item.prediction or None for item in items), blank)


@dataclass
class Rows:
    """Values by task, as they are collected for a `Scored`; an item may count for several tasks."""

    values: list[float] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, task: str, value: float, group: str) -> None:
        """Let a value count for a task."""
        self.values.append(value)
        self.tasks.append(task)
        self.groups.append(group)

    def add_each(self, task: str, category: str, value: float, group: str) -> None:
        """Let a value count for a task, and for "task/category" if there is a category."""
        self.add(task, value, group)
        if category:
            self.add(f"{task}/{category}", value, group)

    def scored(self, judged: Judged, combine: Callable[[Totals], Totals] = no_totals) -> Scored:
        """Return the score, with the counts of what was judged."""
        return Scored(
            np.array(self.values, np.float64),
            tuple(self.tasks),
            tuple(self.groups),
            combine,
            judged.unparsed,
            judged.failed,
            each={item.id: value for item, value in zip(judged.items, judged.values, strict=True)},
        )


def accuracy(judged: Judged, combine: Callable[[Totals], Totals] = no_totals) -> Scored:
    """Return the share that is right, of all ("accuracy") and by category ("accuracy/...")."""
    rows = Rows()
    for item, value in zip(judged.items, judged.values, strict=True):
        rows.add_each("accuracy", item.category, value, item.image)
    return rows.scored(judged, combine)


def grouped(judged: Judged, key: Callable[[Item], str]) -> dict[str, list[int]]:
    """Return the places of items by a key, in the order of first appearance."""
    found: dict[str, list[int]] = {}
    for at, item in enumerate(judged.items):
        found.setdefault(key(item), []).append(at)
    return found
