"""Calibrating a model from the command line: `unimm eval calibrate`, or `python -m eval.calibrate`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.table import Table

from unimm.evaluation.calibration.measuring import Report, draw_and_judge, report_on
from unimm.evaluation.calibration.picture import save_diagrams
from unimm.evaluation.calibration.settings import VERSION, Settings
from unimm.model.verifying import VERIFIERS
from unimm.model.verifying.calibrated import conditions_of, weights_mark
from unimm.verify.calibrations import FILE, Calibrations, write_calibrations
from unimm.whole import write_whole

if TYPE_CHECKING:
    from unimm.model import UniMM


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="unimm eval calibrate",
        description="Measure on the built-in world how probable it is at each score that a drawing is right.",
    )
    own = Settings()
    parser.add_argument("--model", "-m", default="tiny", help="tiny (built in), a folder, or a hub id")
    parser.add_argument("--prompts", type=int, default=own.num_prompts, help="half of them for the fit (240)")
    parser.add_argument("--candidates", type=int, default=own.candidates, help="drawings per prompt (4)")
    parser.add_argument("--steps", type=int, default=own.steps, help="of the sampler (50)")
    parser.add_argument("--guidance", type=float, default=own.guidance, help="scale (the model's own)")
    parser.add_argument("--seed", type=int, default=own.seed, help="of prompts and noise (1)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="maps, numbers, plot (outputs/calibration-MODEL)"
    )
    parser.add_argument(
        "--install", action="store_true", help=f"put the maps beside the model's weights, as {FILE}"
    )
    return parser


def main(arguments: Sequence[str]) -> None:
    """Calibrate a model's verifiers, and print what that is worth on the other half of the prompts.

    Raises:
        ValueError: an option out of its range, or an unknown model.
        FileNotFoundError: no such model.
        OSError: the disk is full; what was drawn so far is kept.
    """
    options = _parser().parse_args(list(arguments))
    settings = Settings(options.prompts, options.candidates, options.steps, options.guidance, options.seed)
    from unimm import UniMM
    from unimm.model.loading import find_folder

    model = UniMM.from_pretrained(options.model).eval()
    out = options.out or Path("outputs") / f"calibration-{Path(options.model).name}"
    reports = measure(model, settings, out)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table(reports))
    found = calibrations_of(model, reports)
    write_calibrations(out / FILE, found)
    numbers = {name: report.numbers() for name, report in reports.items()}
    write_whole(out / "numbers.json", json.dumps(numbers, indent=1) + "\n")
    title = f"{Path(options.model).name}: probability that a drawing is right, on prompts not fitted on"
    if not save_diagrams(out / "reliability.png", reports, title):
        console.print("no plot: it needs matplotlib (pip install 'unimm[eval]')", markup=False)
    if options.install:
        write_calibrations(find_folder(options.model) / FILE, found)
    console.print(f"maps, numbers and the plot are in {out}", highlight=False)


def measure(model: UniMM, settings: Settings, out: Path) -> dict[str, Report]:
    """Return a report for every verifier; what was drawn is kept in `parts` of a folder, and gone on from."""
    _, arrays = draw_and_judge(model, settings, out)
    _, fitted = settings.asked()
    facts = {
        "measured_on": f"the built-in world, calibration version {VERSION}",
        "date": datetime.now(UTC).date().isoformat(),
        **asdict(settings),
    }
    return {name: report_on(name, arrays, fitted, facts) for name in VERIFIERS}


def calibrations_of(model: UniMM, reports: Mapping[str, Report]) -> Calibrations:
    """Return the maps as they are stored beside these weights, with what was measured of each."""
    maps = {name: report.stored() for name, report in reports.items()}
    return Calibrations(maps, weights_mark(model.stored_state()), conditions_of(model))


def table(reports: Mapping[str, Report]) -> Table:
    """Return what the calibrations are worth, as a table."""
    columns = ("map", "ECE raw", "ECE", "log loss", "of the base rate", "ranking", "n", "failed")
    shown = Table("verifier", *columns, title="On prompts not fitted on", title_justify="left")
    for name, report in reports.items():
        shown.add_row(name, report.calibration.kind, *map(_cell, report.numbers().values()))
    return shown


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
