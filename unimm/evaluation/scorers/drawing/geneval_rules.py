"""GenEval's verdict on one picture, from what a detector found in it.

Ghosh et al. 2023, https://github.com/djghosh13/geneval at af4902f, evaluation/evaluate_images.py. What is
found is given by plain arrays, so the rules know no detector and no colour classifier.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimm.evaluation.scorers.records import field
from unimm.tables import expect_known

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")

_TOUCHING = 1e-3  # pixels: centres no further apart than this, after shrinking, have no relation


@dataclass(frozen=True)
class Rules:
    """The numbers of the rules; the defaults are the official ones."""

    threshold: float = 0.3
    """Kept is what scores above this."""
    counting_threshold: float = 0.9
    """The same for prompts with the tag "counting"."""
    max_objects: int = 16
    """So many of a class are kept, the best ones."""
    max_overlap: float = 1.0
    """What overlaps a better one of its class at least so much is dropped; 1 drops nothing."""
    position_threshold: float = 0.1
    """Part of the two sizes by which offsets are shrunk."""

    def least_score(self, tag: str) -> float:
        """Return the threshold for prompts of a tag."""
        return self.counting_threshold if tag == "counting" else self.threshold


OFFICIAL = Rules()
_RANGES = {
    "threshold": (0.0, 1.0),
    "counting_threshold": (0.0, 1.0),
    "max_objects": (1, 10**6),
    "max_overlap": (0.0, 1.0),
    "position_threshold": (0.0, 10.0),
}


def other_rules(given: Mapping[str, float]) -> dict[str, float]:
    """Return those of the given numbers that are not the official ones.

    Raises:
        ValueError: an unknown name, or a number out of its range.
    """
    for name, value in given.items():
        expect_known("--rule", name, tuple(_RANGES))
        low, high = _RANGES[name]
        whole = isinstance(getattr(OFFICIAL, name), int)
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"--rule {name}: expected {kind} from {low} to {high}, got {value}")
    typed = {name: type(getattr(OFFICIAL, name))(value) for name, value in given.items()}
    return {name: value for name, value in typed.items() if value != getattr(OFFICIAL, name)}


@dataclass(frozen=True)
class Found:
    """The things of one class that are kept, the best first."""

    boxes: np.ndarray
    """[K 4] x1 y1 x2 y2 in pixels, y downwards."""
    colors: Sequence[str | None] = ()
    """Names of their colours; only the first ones are looked at, and only if the prompt names a colour."""


@dataclass(frozen=True)
class Verdict:
    """Whether a picture obeys its prompt."""

    correct: bool
    reasons: tuple[str, ...]
    """What was expected and what was found instead, in the official words; relations in order of alphabet."""

    @property
    def reason(self) -> str:
        """The reasons, a line each."""
        return "\n".join(self.reasons)


def select(boxes: np.ndarray, scores: np.ndarray, tag: str, rules: Rules = OFFICIAL) -> np.ndarray:
    """Return which detections of one class are kept: indices, the best first. Of equal scores the first wins.

    Args:
        boxes: [K 4] x1 y1 x2 y2.
        scores: [K] in [0, 1].
        tag: of the prompt.
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > rules.least_score(tag)][: rules.max_objects]
    if rules.max_overlap == 1:
        return order
    kept: list[int] = []
    for index in order:
        if all(iou(boxes[index], boxes[better]) < rules.max_overlap for better in kept):
            kept.append(index)
    return np.array(kept, dtype=order.dtype)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return intersection over union of two boxes x1 y1 x2 y2 that both include their last pixel."""
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = _area(a) + _area(b) - shared
    return shared / union if union else 0.0


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)


def relative_position(
    a: Sequence[float], b: Sequence[float], position_threshold: float = OFFICIAL.position_threshold
) -> frozenset[str]:
    """Return how box a stands to box b: at most one of left and right, and at most one of above and below.

    The offset of the centres, shrunk on each axis by a part of the two sizes, must be more than half as long
    on an axis as the whole unshrunken offset.

    Args:
        a: x1 y1 x2 y2, y downwards.
        b: the same.
        position_threshold: that part.
    """
    offset = [(a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2 for i in (0, 1)]
    sizes = [abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i]) for i in (0, 1)]
    shrunk = [
        math.copysign(max(abs(way) - position_threshold * size, 0), way)
        for way, size in zip(offset, sizes, strict=True)
    ]
    if all(abs(way) < _TOUCHING for way in shrunk):
        return frozenset()
    across, down = (way / math.hypot(*offset) for way in shrunk)
    holds = (across < -0.5, across > 0.5, down < -0.5, down > 0.5)
    return frozenset(relation for relation, true in zip(RELATIONS, holds, strict=True) if true)


def judge(metadata: Mapping[str, Any], found: Mapping[str, Found], rules: Rules = OFFICIAL) -> Verdict:
    """Return the verdict on one picture.

    Of every class included, only the `count` best things are looked at: one that scores lower never makes up
    for them. Where the colour is wrong, the position is not looked at.

    Args:
        metadata: the benchmark's line about the prompt: "include", a list of {"class", "count"[, "color"]
            [, "position": [relation, index of an earlier clause]]}, and optionally "exclude", a list of
            {"class", "count"}.
        found: what is kept of every class that was found.

    Raises:
        ValueError: clauses that cannot be read, or a thing whose colour is asked for and not given.
    """
    reasons: list[str] = []
    matched: list[np.ndarray | None] = []  # the boxes of each clause so far; None where it failed
    for clause in field(metadata, "include", list, "geneval metadata"):
        wrong = _wrong_in(clause, found, matched, rules)
        matched.append(None if wrong else found[clause["class"]].boxes[: clause["count"]])
        reasons += [wrong] if wrong else []
    for clause in metadata.get("exclude", ()):
        name, count = _class_and_count(clause)
        have = len(found[name].boxes) if name in found else 0
        if have >= count:
            reasons.append(f"expected {name}<{count}, found {have}")
    return Verdict(not reasons, tuple(reasons))


def _wrong_in(
    clause: Mapping[str, Any],
    found: Mapping[str, Found],
    matched: Sequence[np.ndarray | None],
    rules: Rules,
) -> str | None:
    """Return the first thing wrong with a clause, or None."""
    name, count = _class_and_count(clause)
    have = len(found[name].boxes[:count]) if name in found else 0
    if have < count:
        return f"expected {name}>={count}, found {have}"
    wrong = _wrong_color(clause["color"], found[name], name, count) if "color" in clause else None
    if wrong or "position" not in clause:
        return wrong
    return _wrong_position(clause, found[name].boxes[:count], matched, rules)


def _class_and_count(clause: Mapping[str, Any]) -> tuple[str, int]:
    return field(clause, "class", str, "geneval clause"), field(clause, "count", int, "geneval clause")


def _wrong_color(wanted: str, found: Found, name: str, count: int) -> str | None:
    colors = list(found.colors[:count])
    if len(colors) < count or None in colors:
        raise ValueError(
            f"geneval: the prompt asks for {wanted} {name}: "
            f"expected the colours of the {count} best, got {colors}"
        )
    have = colors.count(wanted)
    if have >= count:
        return None
    others = [*COLORS, *sorted(set(colors) - set(COLORS))]
    seen = ", ".join(f"{colors.count(color)} {color}" for color in others if color in colors)
    return f"expected {wanted} {name}>={count}, found {have} {wanted}; and {seen}"


def _wrong_position(
    clause: Mapping[str, Any],
    boxes: np.ndarray,
    matched: Sequence[np.ndarray | None],
    rules: Rules,
) -> str | None:
    name, (relation, target) = clause["class"], clause["position"]
    expect_known("geneval relation", relation, RELATIONS)
    if not 0 <= target < len(matched):
        raise ValueError(f"geneval: {name}: expected the index of an earlier clause, got {target}")
    others = matched[target]
    if others is None:
        return f"no target for {name} to be {relation}"
    for box in boxes.tolist():
        for other in others.tolist():
            relations = relative_position(box, other, rules.position_threshold)
            if relation not in relations:
                return f"expected {name} {relation} target, found {' and '.join(sorted(relations))} target"
    return None


def to_color(metadata: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many things of which class need a colour for the verdict: the best of those kept.

    Args:
        metadata: as of `judge`.
        counts: how many of each class are kept.
    """
    wanted: dict[str, int] = {}
    for clause in field(metadata, "include", list, "geneval metadata"):
        name, count = _class_and_count(clause)
        if "color" in clause and counts.get(name, 0) >= count:
            wanted[name] = max(count, wanted.get(name, 0))
    return wanted


def colors_of(metadata: Mapping[str, Any]) -> Collection[str]:
    """Return the colours that a prompt asks for."""
    included = field(metadata, "include", list, "geneval metadata")
    return dict.fromkeys(clause["color"] for clause in included if "color" in clause)


def classes_of(metadata: Mapping[str, Any]) -> Collection[str]:
    """Return the classes that a prompt's rules look at."""
    clauses = [*field(metadata, "include", list, "geneval metadata"), *metadata.get("exclude", ())]
    return dict.fromkeys(_class_and_count(clause)[0] for clause in clauses)
