"""The card: what was measured, on what, by whom, and how far it may be off."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm.evaluation.bench.benchmark import Asked, Benchmark
from unimm.evaluation.bootstrap import Leaf, intervals
from unimm.evaluation.run import now, software
from unimm.evaluation.score import Pictures, protocol_of
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers import SCORERS
from unimm.whole import read_json, write_whole

FILE = "card.json"
FORMAT = 2
UNKNOWN = "unknown"
"""What is said of pictures that came without a run's file."""


def make_card(
    benchmark: Benchmark,
    asked: Asked,
    prompts: Mapping[str, Any],
    pictures: Pictures,
    judge: str,
    scored: Scored,
    run: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the card of a scored run, plain values only.

    Args:
        benchmark: what was measured.
        asked: how it was asked for.
        prompts: facts of the prompts, `PromptSet.facts()`.
        pictures: what was found.
        judge: `judge_name(...)`.
        scored: what the scorer made of the records.
        run: `run.json` of the pictures; None for those of another project.
    """
    scorer, protocol = SCORERS[benchmark.scorer], protocol_of(benchmark, asked)
    leaves = intervals(scored)
    return {
        "format": FORMAT,
        "metric": metric(benchmark, protocol, judge, asked.rules),
        "benchmark": benchmark.name,
        "scale": benchmark.scale,
        "scores": {name: leaf.to_dict() for name, leaf in leaves.items()},
        "n": len(pictures.tiles),
        "prompts": prompts | _worded(run),
        "images_per_prompt": asked.samples,
        "unparsed": scored.unparsed,
        "failed": scored.failed,
        "left_out": dict(scored.left_out),
        "missing": sum(pictures.missing.values()),
        "extra": len(pictures.extra),
        "resolution": pictures.sizes(),
        "scorer": {
            "name": scorer.name,
            "version": scorer.version,
            "protocol": protocol,
            "rules": dict(asked.rules),
        },
        "judge": judge,
        "inputs": asked.inputs,
        "files": {name: dict(file) for name, file in asked.files.items()},
        "generation": _generation(run),
        "software": software(),
        "date": now(),
    }


def metric(benchmark: Benchmark, protocol: str, judge: str, rules: Mapping[str, float] | None = None) -> str:
    """Return the metric's key, such as "geneval@oracle"; what is not the default or official is in it."""
    default = next(iter(SCORERS[benchmark.scorer].protocols))
    name = benchmark.name if protocol == default else f"{benchmark.name}-{protocol}"
    told = ",".join(f"{rule}={value:g}" for rule, value in sorted((rules or {}).items()))
    return f"{name}{f'({told})' if told else ''}@{judge}"


def _worded(run: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how prompts were put to the model; of another project's pictures nobody knows."""
    if run is None:
        return {"template": UNKNOWN, "rewritten": UNKNOWN}
    return {"template": run["prompts"]["template"]}


def _generation(run: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if run is None:
        return None
    names = ("model", "sampling", "samples", "seed", "software", "begun")
    return {name: run[name] for name in names}


def write_card(folder: Path, card: Mapping[str, Any]) -> Path:
    """Write card.json to a folder."""
    return write_whole(folder / FILE, json.dumps(card, indent=1, allow_nan=False) + "\n")


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a scored folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged, or written by another version.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a scored folder with {FILE}, found none; score it first")
    card = read_json(path)
    if card.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected a card of format {FORMAT}, got {card.get('format')!r}; score it again"
        )
    return card


def leaf_of(card: Mapping[str, Any], name: str) -> Leaf:
    """Return one of a card's scores."""
    return Leaf(**card["scores"][name])


def headline(card: Mapping[str, Any]) -> str:
    """Return the name of the score that people quote."""
    return card.get("headline") or quoted(card["scores"])


def scale_of(card: Mapping[str, Any], name: str) -> float:
    """Return what a score is multiplied with where it is shown."""
    return card.get("scales", {}).get(name, card["scale"])


def quoted(names: Iterable[str]) -> str:
    """Return the one of several scores that people quote."""
    known = list(names)
    return "overall" if "overall" in known else known[0]


def rows_of(card: Mapping[str, Any]) -> list[tuple[str, Leaf]]:
    """Return the scores in the order of reading, the one that people quote last."""
    quoted = headline(card)
    names = [name for name in card["scores"] if name != quoted]
    return [(name, leaf_of(card, name)) for name in (*names, quoted)]


def said(leaf: Leaf, scale: float) -> str:
    """Return e.g. "85.0 [82.1, 87.8]"."""
    return f"{scale * leaf.mean:.1f} [{scale * leaf.low:.1f}, {scale * leaf.high:.1f}]"


def markdown(card: Mapping[str, Any]) -> str:
    """Return the scores as a table for terminals and pages alike, then what must be said with them."""
    rows = [("", f"{card['metric']}, %", "n")]
    rows += [(name, said(leaf, scale_of(card, name)), str(leaf.n)) for name, leaf in rows_of(card)]
    return "\n".join([*aligned(rows, left=(0,)), "", *notes(card)])


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Return the lines of a Markdown table whose columns line up; the first row is the head.

    Args:
        rows: cells.
        left: the columns that are flush left; others are numbers.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    dashes = [
        "-" * (width + 2) if place in left else "-" * (width + 1) + ":" for place, width in enumerate(widths)
    ]
    return [lines[0], f"|{'|'.join(dashes)}|", *lines[1:]]


def notes(card: Mapping[str, Any]) -> list[str]:
    """Return lines that say of what the numbers are."""
    prompts = card["prompts"]
    known = prompts["known"] or "NOT the recorded prompts"
    words = {True: "rewritten", False: "as published"}.get(prompts["rewritten"], "rewritten or not: unknown")
    lines = [
        f"n = {card['n']} pictures: {card['images_per_prompt']} for each of {prompts['used']} prompts of "
        f"{prompts['total']} ({known}; sha256 {prompts['sha256'][:12]})",
        f"template {prompts['template']!r}; prompts {words}",
    ]
    lines += [
        f"{name}: {file['known'] or 'NOT a recorded file'} (sha256 {file['sha256'][:12]})"
        for name, file in card["files"].items()
    ]
    counted = {name: card[name] for name in ("failed", "unparsed", "extra")}
    counted |= {"missing pictures": card["missing"]} | card["left_out"]
    lines.append("; ".join(f"{name} {count}" for name, count in counted.items()))
    return lines
