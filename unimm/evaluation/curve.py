"""Best of N for every N, from one drawing: candidates are drawn and judged once, and chosen among."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unimm.evaluation.bench.benchmark import Asked, Benchmark
from unimm.evaluation.bench.items import PromptSet
from unimm.evaluation.bench.layouts import CANDIDATES
from unimm.evaluation.bootstrap import Leaf, intervals, paired_intervals
from unimm.evaluation.card import aligned, metric, quoted, said
from unimm.evaluation.generate import SCORES, Plan, generate
from unimm.evaluation.records import FILE as RECORDS
from unimm.evaluation.records import Records
from unimm.evaluation.run import read_run
from unimm.evaluation.score import find_pictures, judge, judge_name, protocol_of, score
from unimm.evaluation.scored import Scored
from unimm.evaluation.session import Options, asked_for
from unimm.whole import read_lines, write_whole

Place = tuple[int, int]
ORACLE = "oracle"
"""Who always chooses what the judges like best: no verifier can do better."""


@dataclass(frozen=True)
class Curve:
    """The score over N, by verifier, and its gain over one candidate."""

    metric: str
    scale: float
    counts: tuple[int, ...]
    prompts: int
    candidates: int
    """Of each prompt."""
    scores: Mapping[str, Mapping[int, Leaf]]
    gains: Mapping[str, Mapping[int, Leaf]]
    """Over the smallest N, on the same prompts."""
    unscored: int
    """Candidates whose score was not a number; they lose."""
    run: Mapping[str, Any]


def numbers_of(text: str) -> tuple[int, ...]:
    """Return the numbers of candidates in a text such as "1,2,4,8".

    Raises:
        ValueError: no such numbers, or a smaller one that does not divide a larger one.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) for word in words):
        raise ValueError(f"--best-of: expected numbers of at least 1 such as 1,2,4,8, got {text!r}")
    counts = tuple(sorted({1, *map(int, words)}))
    odd = [count for count in counts if counts[-1] % count]
    if odd:
        raise ValueError(
            f"--best-of: expected numbers that divide the largest, {counts[-1]}, so that all candidates are "
            f"used for each; got {odd[0]}"
        )
    return counts


def draw_candidates(model: Any, plan: Plan, folder: Path, model_facts: Mapping[str, Any]) -> int:
    """Draw all candidates of every prompt and let the verifiers score them; return how many were drawn.

    The candidates of a prompt are those of `best_of` in an ordinary run of the same seed.
    """
    if not plan.verifiers:
        raise ValueError("--verifier: expected one, got none")
    plan = replace(plan, layout=CANDIDATES)
    return generate(model, plan, folder, plan.identity(model_facts))


def curve(
    benchmark: Benchmark,
    folder: Path,
    prompts: PromptSet,
    judges: Mapping[str, Any],
    options: Options,
    counts: Sequence[int],
    samples: int = 1,
) -> Curve:
    """Judge all candidates and return the curve.

    For every N the candidates of a prompt are cut into blocks of N; each block's best-scored picture stands
    for it, and the prompt's score is over its blocks. Each candidate is used once per N, and the blocks of a
    smaller N lie inside those of a larger one.

    Args:
        benchmark: whose rules.
        folder: of `draw_candidates`.
        prompts: that were drawn.
        judges: by role.
        options: how they are asked.
        counts: of candidates, each N.
        samples: pictures per prompt at the largest N; `samples` times as many candidates were drawn.

    Raises:
        ValueError: scores of verifiers are missing.
    """
    run = read_run(folder)
    asked = asked_for(benchmark, prompts, max(counts) * samples, options)
    benchmark.check(judges, asked.items)
    pictures = find_pictures(CANDIDATES, folder / CANDIDATES.folder, asked)
    made = judge(benchmark, pictures, asked, judges, Records(folder / RECORDS), options.batch_size)
    assert made is not None  # all of it was this process's share
    by_place = {(record["item"], record["sample"]): record for record in made}
    choosers = {name: _scores(folder, name, by_place) for name in run["verifiers"]}
    best = {place: benchmark.verdict(record, asked)[0] for place, record in by_place.items()}
    scored = {
        name: {count: _scored(benchmark, asked, by_place, scores, count) for count in counts}
        for name, scores in {**choosers, ORACLE: best}.items()
    }
    return Curve(
        metric(benchmark, protocol_of(benchmark, asked), judge_name(benchmark, judges), asked.rules),
        benchmark.scale,
        tuple(counts),
        len(prompts.items),
        asked.samples,
        {name: {n: _quoted(intervals(each)) for n, each in line.items()} for name, line in scored.items()},
        {
            name: {n: _quoted(paired_intervals(line[counts[0]], each)) for n, each in line.items()}
            for name, line in scored.items()
        },
        sum(score == -np.inf for scores in choosers.values() for score in scores.values()),
        run,
    )


def _scores(folder: Path, verifier: str, wanted: Mapping[Place, Any]) -> dict[Place, float]:
    """Return what a verifier thinks of each candidate; of one that was drawn twice the last word counts."""
    lines = [line for line in read_lines(folder / SCORES) if line["verifier"] == verifier]
    found = {
        (line["item"], line["sample"]): -np.inf if line["score"] is None else line["score"] for line in lines
    }
    lacking = wanted.keys() - found.keys()
    if lacking:
        raise ValueError(
            f"{folder / SCORES}: {len(lacking)} candidates have no score of {verifier}; "
            "draw them in a new folder"
        )
    return found


def _scored(
    benchmark: Benchmark,
    asked: Asked,
    records: Mapping[Place, dict[str, Any]],
    scores: Mapping[Place, float],
    count: int,
) -> Scored:
    """Return what the rules make of the winners of blocks of `count` candidates."""
    winners = []
    for item in asked.items:
        for block in range(asked.samples // count):
            members = [(item.index, block * count + place) for place in range(count)]
            winner = max(members, key=scores.__getitem__)  # of equal scores the first wins
            winners.append({**records[winner], "sample": block})
    return score(benchmark, winners, replace(asked, samples=asked.samples // count))


def _quoted(leaves: Mapping[str, Leaf]) -> Leaf:
    return leaves[quoted(leaves)]


def table(found: Curve) -> str:
    """Return the curve as a table for terminals and pages alike."""
    head = ["verifier", *(f"best of {n}" for n in found.counts), f"gain at {found.counts[-1]}"]
    rows = [
        [
            name,
            *(said(line[n], found.scale) for n in found.counts),
            said(found.gains[name][found.counts[-1]], found.scale),
        ]
        for name, line in found.scores.items()
    ]
    return "\n".join(
        [
            *aligned([head, *rows], left=(0,)),
            "",
            f"{found.metric}, per cent [95 %], {found.prompts} prompts, {found.candidates} candidates each, "
            f"{found.unscored} without a score",
        ]
    )


def write_curve(folder: Path, found: Curve) -> list[Path]:
    """Write curve.json, and curve.png where matplotlib is installed; return what was written."""
    value = {
        "metric": found.metric,
        "prompts": found.prompts,
        "candidates": found.candidates,
        "unscored": found.unscored,
        "scores": _plain(found.scores),
        "gains": _plain(found.gains),
        "generation": dict(found.run),
    }
    written = [write_whole(folder / "curve.json", json.dumps(value, indent=1) + "\n")]
    plot = folder / "curve.png"
    return [*written, plot] if _plot(plot, found) else written


def _plain(lines: Mapping[str, Mapping[int, Leaf]]) -> dict[str, dict[str, Any]]:
    return {name: {str(n): leaf.to_dict() for n, leaf in line.items()} for name, line in lines.items()}


def _plot(path: Path, found: Curve) -> bool:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, line in found.scores.items():
        means, lows, highs = (
            [found.scale * getattr(line[n], part) for n in found.counts] for part in ("mean", "low", "high")
        )
        (drawn,) = axes.plot(found.counts, means, ":" if name == ORACLE else "-", marker="o", label=name)
        if name != ORACLE:
            axes.fill_between(found.counts, lows, highs, color=drawn.get_color(), alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(found.counts, [str(n) for n in found.counts])
    axes.set(xlabel="candidates per picture (N)", ylabel=f"{found.metric}, per cent")
    axes.set_title(f"Best of N ({found.prompts} prompts, 95 % intervals)", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return True
