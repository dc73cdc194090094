"""What was timed and what was computed, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from unimm.training.inference.counted import Macs
from unimm.training.inference.memory import Memory
from unimm.training.inference.stopwatch import STAGES


def batches_table(title: str, batches: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of what `time_drawing` found."""
    shown = _table(title, "images/s", *STAGES[:2], "decode", "MB", "of DiT", "over one by one")
    for row in batches:
        stages = [_seconds(row["stages"][stage]) for stage in ("prefill", "draw", "decode")]
        shares = f"{row['of_dit']:.1%}", f"{row['over_single']:.2f} x"
        shown.add_row(row["name"], f"{row['images_per_second']:.3g}", *stages, _megabytes(row), *shares)
    return shown


def choices_table(title: str, choices: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of what `time_choosing` found, the naive order below ours."""
    shown = _table(title, "seconds", *STAGES, "MB", "ratio", "judge/draw")
    for row in choices:
        for each in (row, row["naive"]):
            stages = [_seconds(each["stages"][stage]) for stage in STAGES]
            last = (f"{row['ratio']:.2f} x", f"{row['judging']:.1%}") if each is row else ("", "")
            shown.add_row(each["name"], _seconds(each["seconds"]), *stages, _megabytes(each), *last)
    return shown


def memory_table(title: str, rows: Sequence[tuple[int, bool, Memory]]) -> Table:
    """Return a table of computed memory: (pictures, whether the best of them is chosen, bytes)."""
    shown = _table(title, "weights", "held", "prefill", "draw", "judge", "decode", "peak")
    for pictures, chosen, memory in rows:
        parts = memory.weights, memory.held, memory.prefill, memory.draw, memory.judge, memory.decode
        name = f"best of {pictures}" if chosen else f"{pictures} at once"
        shown.add_row(name, *(f"{part / 1e9:.3f}" for part in (*parts, memory.total)))
    return shown


def work_table(title: str, works: Mapping[int, tuple[Macs, Macs]]) -> Table:
    """Return a table of what `counted_choice` found for each N."""
    shown = _table(title, *STAGES, "in all", "ratio", "judge/draw")
    for n, (ours, naive) in works.items():
        whole = sum(ours.values()), sum(naive.values())
        shares = f"{whole[1] / whole[0]:.3f} x", f"{ours['judge'] / ours['draw']:.2%}"
        for name, macs, last in ((f"best of {n}", ours, shares), (f"naive best of {n}", naive, ("", ""))):
            parts = (*(macs[stage] for stage in STAGES), sum(macs.values()))
            shown.add_row(name, *(f"{part / 1e12:.3f}" for part in parts), *last)
    return shown


def _table(title: str, *headings: str) -> Table:
    shown = Table("", title=title, title_justify="left")
    for heading in headings:
        shown.add_column(heading, justify="right")
    return shown


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 10 else f"{seconds:.1f}"


def _megabytes(row: Mapping[str, Any]) -> str:
    return f"{row['peak_bytes'] / 1e6:,.0f}"
