"""The card of a run of questions: what was asked, of whom, how it was scored, and how far it may be off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unimm.evaluation.bootstrap import RESAMPLES, intervals
from unimm.evaluation.card import FORMAT, aligned, rows_of, said, scale_of
from unimm.evaluation.run import now, software
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.evaluation.vqa.tasks import Task

_FEW_GROUPS = 5_000
_FEWER_RESAMPLES = 1_000  # for larger sets: their intervals are narrow, and memory and minutes are not free


def make_card(
    task: Task,
    protocol: tuple[str, str],
    run: Mapping[str, Any],
    scored: Scored,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the card, plain values only.

    Args:
        task: the benchmark.
        protocol: by which it was asked, and by which it was scored.
        run: what `run.json` holds.
        scored: by the task's scorer.
        facts: `n` questions answered or failed, digests of questions and pictures, what was left out,
            the policy.
    """
    resamples = RESAMPLES if len(set(scored.groups)) <= _FEW_GROUPS else _FEWER_RESAMPLES
    leaves = intervals(scored, resamples=resamples)
    scorer = SCORERS[task.name]
    own = run["data"]["kind"] == "world"
    return {
        "format": FORMAT,
        "metric": f"{'world-' if own else ''}{task.name}@{protocol[0]}",
        "benchmark": task.name,
        "scale": task.scale,
        "scales": {name: 100.0 for name in leaves if name.rpartition("/")[2] in task.shares},
        "headline": next((name for name in leaves if name.partition(" (")[0] == task.quoted), None),
        "scores": {name: leaf.to_dict() for name, leaf in leaves.items()},
        "expected_n": None if own else task.size,
        "unparsed": scored.unparsed,
        "failed": scored.failed,
        "scorer": {"name": scorer.name, "version": scorer.version, "protocol": protocol[1]},
        "notes": ["questions of the built-in world in this benchmark's form"] if own else list(task.notes),
        **facts,
        "run": dict(run),
        "software": software(),
        "date": now(),
    }


def table(card: Mapping[str, Any]) -> str:
    """Return the scores as a table, then what must be said with them."""
    rows = [("", f"{card['metric']}{', %' if card['scale'] == 100 else ''}", "n")]
    rows += [(name, said(leaf, scale_of(card, name)), str(leaf.n)) for name, leaf in rows_of(card)]
    return "\n".join([*aligned(rows, left=(0,)), "", *notes(card)])


def notes(card: Mapping[str, Any]) -> Sequence[str]:
    """Return lines that say of what the numbers are."""
    expected = card["expected_n"]
    part = "" if expected in (None, card["n"]) else f" of {expected} in the published split"
    counted = {name: card[name] for name in ("unparsed", "failed")} | card["left_out"]
    lines = [
        f"n = {card['n']} questions{part}; "
        + "; ".join(f"{name} {count}" for name, count in counted.items()),
        f"unparsed answers count as {card['policy']!r}; "
        f"OCR tokens {'in' if card['run']['ocr'] else 'not in'} the prompt",
    ]
    if card["several_pictures"]:
        shown = {"first": "the first of them", "all": "all of them"}[card["run"]["pictures"]]
        lines.append(f"{card['several_pictures']} questions with several pictures were asked with {shown}")
    lines += [f"failed {count}: {error}" for error, count in card["errors"].items()]
    return [*lines, *card["notes"]]
