"""Reliability diagrams: what was promised against what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unimm.evaluation.calibration.measuring import Report
from unimm.verify.reliability import Bin, calibration_error

INK, RAW, PALE = "#2d6fb0", "#c4502e", "#8a857c"
Z = 1.96  # of a 95 % interval


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of n independent draws (Wilson 1927)."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def save_diagrams(path: Path, reports: Mapping[str, Report], title: str) -> bool:
    """Plot one diagram per verifier; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    columns = min(3, len(reports))
    rows = -(-len(reports) // columns)
    figure = Figure(figsize=(3.5 * columns, 3.6 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, report) in enumerate(reports.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.plot([0, 1], [0, 1], color=PALE, lw=1, ls=":")
        if report.before is not None:
            _curve(axes, report.before, RAW, f"raw, ECE {calibration_error(report.before):.3f}")
        _curve(axes, report.after, INK, f"calibrated, ECE {calibration_error(report.after):.3f}")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="promised", ylabel="share that is right")
        axes.set_title(f"{name.replace('_', ' ')} ({report.calibration.kind}, n = {report.n})", fontsize=9)
        axes.set_aspect("equal")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=140)
    return True


def _curve(axes, bins: list[Bin], colour: str, label: str) -> None:
    """Plot bins with their intervals; a dot's size is its share of the drawings."""
    promised, kept = [b.promised for b in bins], [b.kept for b in bins]
    for b in bins:
        axes.plot([b.promised] * 2, wilson(b.kept, b.n), color=colour, lw=1, alpha=0.5)
    total = sum(b.n for b in bins)
    axes.plot(promised, kept, color=colour, lw=1.2, label=label)
    axes.scatter(promised, kept, s=[10 + 120 * b.n / total for b in bins], color=colour, zorder=3)
