"""GenEval 2: how likely a model that looks at the picture thinks each part of its prompt, in per cent.

Kamath et al. 2025 (arXiv:2512.16853), https://github.com/facebookresearch/GenEval2 at a6e82d2, evaluation.py
and soft_tifa_analysis.py. 800 prompts, one picture each. A part of a prompt scores the probability that the
judge gives to its answer. A picture's "soft_tifa_am" is the arithmetic mean of its parts, its "soft_tifa_gm"
the geometric one; "skill ..." are means over the parts of a skill, "atoms ..." means of the geometric means
over the prompts of a size.

Records of `soft_tifa`: {"prompt", "atom_count", "skills": one per part, "scores": one per part, in [0, 1]}.
Records of `vqascore`, the comparison of the paper (Lin et al. 2024): {"prompt", "score" in [0, 1]}, the
probability of "yes" to the prompt as a whole. Or "failed" in place of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.records import expect_once, field, has_failed
from unimm.evaluation.scorers.scorer import Scorer
from unimm.tables import expect_known

PROMPTS = 800
SKILLS = ("object", "attribute", "count", "position", "verb")
ATOMS = range(3, 11)
"""Sizes of prompts: how many parts they are said to have; "a" is asked about and not among them."""

_ROUNDING = 1e-6  # a sum of probabilities may exceed 1 by so much

Record = Mapping[str, Any]


def soft_tifa(records: Sequence[Record], prompts: int = PROMPTS, allow_missing: bool = False) -> Scored:
    """Score by the parts of the prompts.

    Args:
        records: one per prompt, in any order.
        prompts: how many the benchmark has.
        allow_missing: score what is there, and count what is not in `left_out`.

    Raises:
        ValueError: a prompt twice, unknown skills or sizes, scores that are no probabilities, another number
            of scores than of skills, or another number of records where that is not allowed.
    """
    missing = _count_missing(records, prompts, allow_missing)
    rows: list[tuple[float, str, str]] = []
    for record in records:
        prompt, skills, atoms, scores = _parts(record)
        geometric = geometric_mean(scores)
        rows.append((scores.mean(), "soft_tifa_am", prompt))
        rows.append((geometric, "soft_tifa_gm", prompt))
        rows.append((geometric, f"atoms {atoms}", prompt))
        rows += [(score, f"skill {skill}", prompt) for score, skill in zip(scores, skills, strict=True)]
    return _scored(rows, records, missing)


def vqascore(records: Sequence[Record], prompts: int = PROMPTS, allow_missing: bool = False) -> Scored:
    """Score by the prompts as wholes; arguments and errors are those of `soft_tifa`."""
    missing = _count_missing(records, prompts, allow_missing)
    rows = []
    for record in records:
        where = _where(record)
        found = 0.0 if has_failed(record) else field(record, "score", (float, int), where)
        rows.append((_probabilities([found], where)[0], "vqascore", record["prompt"]))
    return _scored(rows, records, missing)


def geometric_mean(scores: np.ndarray) -> float:
    """Return the geometric mean of numbers [n] of at least 0; it is 0 where one of them is."""
    return float(np.exp(np.log(scores).mean())) if (scores > 0).all() else 0.0


def _parts(record: Record) -> tuple[str, Sequence[str], int, np.ndarray]:
    """Return a record's prompt, skills, size and scores, which are 0 where it failed."""
    where = _where(record)
    skills = field(record, "skills", list, where)
    atoms = field(record, "atom_count", int, where)
    for skill in skills:
        expect_known(f"{where}: skill", skill, SKILLS)
    if atoms not in ATOMS:
        raise ValueError(f"{where}: atom_count: expected {ATOMS[0]} to {ATOMS[-1]}, got {atoms}")
    found = [0.0] * len(skills) if has_failed(record) else field(record, "scores", list, where)
    scores = _probabilities(found, where)
    if not skills or len(scores) != len(skills):
        raise ValueError(f"{where}: expected a score for each of {len(skills)} skills, got {len(scores)}")
    return record["prompt"], skills, atoms, scores


def _where(record: Record) -> str:
    return f"geneval2 record of {field(record, 'prompt', str, 'geneval2 record')!r}"


def _probabilities(scores: Sequence[Any], where: str) -> np.ndarray:
    numbers = all(isinstance(each, float | int) and not isinstance(each, bool) for each in scores)
    array = np.array(scores, np.float64) if numbers else np.array([np.nan])
    if not ((array >= 0) & (array <= 1 + _ROUNDING)).all():
        raise ValueError(f"{where}: expected probabilities, got {scores}")
    return array


def _count_missing(records: Sequence[Record], prompts: int, allow_missing: bool) -> int:
    names = [field(record, "prompt", str, "geneval2 record") for record in records]
    expect_once("geneval2 prompts", names)
    if not names or len(names) > prompts or (len(names) < prompts and not allow_missing):
        raise ValueError(
            f"geneval2: expected {prompts} prompts, got {len(names)}; score fewer with allow_missing"
        )
    return prompts - len(names)


def _scored(rows: Sequence[tuple[float, str, str]], records: Sequence[Record], missing: int) -> Scored:
    values, tasks, groups = zip(*rows, strict=True)
    return Scored(
        values=100 * np.array(values, np.float64),
        tasks=tasks,
        groups=groups,
        failed=sum(map(has_failed, records)),
        left_out={"missing prompts": missing} if missing else {},
    )


SCORER = Scorer("geneval2", 1, {"soft_tifa": soft_tifa, "vqascore": vqascore})
