"""WISE: pictures that need knowledge of the world, judged by a model. Fractions in [0, 1].

Niu et al. 2025, https://github.com/PKU-YuanGroup/WISE at eb51174. 1,000 prompts, one picture each; a prompt's
number says its category. "overall" weighs the means of the categories. The two protocols are two benchmarks:
in `verified` about 200 prompts, the judge, the scale and the weights are others.

Records of `verified` (calculate_verified.py): {"prompt_id", "score": 0 or 1}. Records of `legacy`
(WISE_legacy/Calculate.py): {"prompt_id", "consistency", "realism", "aesthetic_quality", each 0, 1 or 2},
which give (0.7 consistency + 0.2 realism + 0.1 aesthetic quality) / 2. A null stands for a reply of the judge
that could not be read: it counts as 0 and in `unparsed` (the official scripts leave such prompts out). Or
"failed" in place of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimm.evaluation.scored import Scored, Totals
from unimm.evaluation.scorers.records import count_missing, expect_once, field, has_failed
from unimm.evaluation.scorers.scorer import Scorer

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Category:
    """Prompts of one kind."""

    first: int
    last: int
    """The numbers of its prompts, both included."""
    weight: float
    """In "overall"."""


LEGACY: Mapping[str, Category] = {
    "culture": Category(1, 400, 0.4),
    "time": Category(401, 567, 0.167),
    "space": Category(568, 700, 0.133),
    "biology": Category(701, 800, 0.1),
    "physics": Category(801, 900, 0.1),
    "chemistry": Category(901, 1000, 0.1),
}
VERIFIED: Mapping[str, Category] = {
    "culture": Category(1, 400, 0.4),
    "time": Category(401, 520, 0.12),
    "space": Category(521, 640, 0.12),
    "biology": Category(641, 760, 0.12),
    "physics": Category(761, 880, 0.12),
    "chemistry": Category(881, 1000, 0.12),
}


def legacy(records: Sequence[Record], allow_missing: bool = False) -> Scored:
    """Score by the judge's three marks.

    Args:
        records: one per prompt, in any order.
        allow_missing: score what is there, and count what is not in `left_out`.

    Raises:
        ValueError: a prompt twice or unknown, marks off the scale, or missing prompts where not allowed.
    """
    return _score(records, LEGACY, _marks, allow_missing)


def verified(records: Sequence[Record], allow_missing: bool = False) -> Scored:
    """Score by the judge's one verdict; arguments and errors are those of `legacy`."""
    return _score(records, VERIFIED, _verdict, allow_missing)


def wiscore(consistency: float, realism: float, aesthetic_quality: float) -> float:
    """Return the legacy score, in [0, 1], of three marks in [0, 2]."""
    return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetic_quality) / 2


def overall(categories: Mapping[str, Category], means: Totals) -> Totals:
    """Return the weighed mean of the categories; of fewer than all it would be another number."""
    if not all(name in means for name in categories):
        return {}
    return {"overall": sum(category.weight * means[name] for name, category in categories.items())}


def _marks(record: Record, where: str) -> float | None:
    names = ("consistency", "realism", "aesthetic_quality")
    marks = [_mark(record, name, (0, 1, 2), where) for name in names]
    return None if None in marks else wiscore(*marks)


def _verdict(record: Record, where: str) -> float | None:
    return _mark(record, "score", (0, 1), where)


def _mark(record: Record, name: str, scale: tuple[int, ...], where: str) -> float | None:
    mark = field(record, name, (int, float, type(None)), where)
    if mark is not None and mark not in scale:
        raise ValueError(f"{where}: {name}: expected one of {', '.join(map(str, scale))}, got {mark}")
    return mark


def _score(
    records: Sequence[Record],
    categories: Mapping[str, Category],
    score: Callable[[Record, str], float | None],
    allow_missing: bool,
) -> Scored:
    if not records:
        raise ValueError("wise: expected records, got none")
    numbers = [field(record, "prompt_id", int, "wise record") for record in records]
    task_of = {
        number: name for name, each in categories.items() for number in range(each.first, each.last + 1)
    }
    expect_once("wise prompts", numbers)
    missing = count_missing("wise prompts", list(task_of), numbers, allow_missing)
    judged = [
        0.0 if has_failed(record) else score(record, f"wise record of prompt {number}")
        for number, record in zip(numbers, records, strict=True)
    ]
    return Scored(
        values=np.array([value or 0.0 for value in judged], np.float64),
        tasks=tuple(task_of[number] for number in numbers),
        groups=tuple(map(str, numbers)),
        combine=lambda means: overall(categories, means),
        unparsed=judged.count(None),
        failed=sum(map(has_failed, records)),
        left_out={"missing prompts": missing} if missing else {},
    )


SCORER = Scorer("wise", 1, {"verified": verified, "legacy": legacy})
