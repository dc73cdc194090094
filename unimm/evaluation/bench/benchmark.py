"""What makes a benchmark of drawing, from prompts to records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.bench.items import Item, PromptSet
from unimm.evaluation.bench.layouts import Layout

Record = Mapping[str, Any]
Judges = Mapping[str, Any]
"""Judges by role, each of the kind that `Benchmark.roles` says."""


@dataclass(frozen=True)
class Source:
    """Where prompts come from."""

    path: Path | None = None
    """The user's file or folder; None for a benchmark that makes its prompts."""
    allow_other: bool = False
    """Whether prompts with another hash than the recorded one may be used."""
    split: str | None = None
    """Which part, where a benchmark has several."""
    seed: int = 0
    """Of prompts that are made, not read."""
    limit: int | None = None
    """How many prompts are used; None is all."""

    def needed(self, benchmark: str, what: str) -> Path:
        """Return the user's path, or say what to give."""
        if self.split is not None:
            raise ValueError(f"--split: {benchmark} has no splits, got {self.split!r}")
        if self.path is None:
            raise ValueError(f"--prompts: {benchmark} needs the path of {what}; it is not shipped")
        if not self.path.exists():
            raise FileNotFoundError(f"--prompts: there is nothing at {str(self.path)!r}")
        return self.path


@dataclass(frozen=True)
class Asked:
    """What is to be scored: the prompts of a run and how many pictures each has."""

    items: Sequence[Item]
    samples: int
    known: str | None = None
    """The name of the recorded set of prompts."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What judging or scoring needs besides, by the option that named its file."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of these files "path", "sha256" and "known", the name of the recorded file that it equals, or None."""
    rules: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the rules that are not the official ones, by name."""
    protocol: str | None = None
    """The scorer's protocol; None is its default."""
    allow_missing: bool = False
    inputs: str = ""
    """Hash of the prompts, the extras and the rules: a record made for others is another record."""


Check = Callable[[Judges, Sequence[Item]], None]


def any_judge(judges: Judges, items: Sequence[Item]) -> None:
    """Accept every judge."""


def no_rules(given: Mapping[str, float]) -> dict[str, float]:
    """Refuse all numbers: the rules have none."""
    if given:
        raise ValueError(f"--rule: these rules have no numbers to change, got {', '.join(given)}")
    return {}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of drawing."""

    name: str
    about: str
    """A line for people: what is measured, and where it is published."""
    samples: int
    """Pictures per prompt, officially."""
    layout: Layout
    read: Callable[[Source], PromptSet]
    """The whole set of prompts."""
    scorer: str
    """Whose rules read the records, a name in SCORERS."""
    roles: Mapping[str, str]
    """Kind of judge (see `judges.KINDS`) by role; the role is the option of the command line."""
    judge: Callable[[Sequence[Image], Sequence[Item], Judges, Asked], list[dict[str, Any]]]
    """What the judges say of pictures: one record each, plain values only."""
    collect: Callable[[Sequence[Record], Asked], tuple[Sequence[Record], dict[str, Any]]]
    """What the scorer reads, and its options, of one record per picture with "item" and "sample"."""
    verdict: Callable[[Record, Asked], tuple[float, str]]
    """One picture's own score in [0, 1] and the reason in words, for people to look at."""
    scale: float = 100.0
    """What a score is multiplied with to be a per cent; 1 for scorers that say per cent."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Judges by role that are taken where none is named."""
    protocol: Callable[[str | None], str | None] = lambda known: None
    """The protocol that fits a recorded set of prompts; None is the scorer's default."""
    files: Mapping[str, Callable[[Path, bool], tuple[Any, str | None]]] = field(default_factory=dict)
    """Readers `read(path, allow_other)` of what is needed besides, by the option that names the file; they
    return it and the name of the recorded file that it equals."""
    check: Check = any_judge
    """Refuses judges that can never say what a prompt asks for."""
    rules: Callable[[Mapping[str, float]], Mapping[str, float]] = no_rules
    """Checks numbers by name that are to stand in the rules' place, and returns those that differ."""
