"""What a person sees while a run goes on: a bar on a terminal, a line per log step elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Reporter:
    """Shows steps, rate, losses and time left. A rank other than 0 shows nothing."""

    def __init__(self, num_steps: int, shown: bool = True):
        self.num_steps, self.shown = num_steps, shown
        self._bar = None
        if shown and sys.stdout.isatty():
            columns = (
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
            )
            self._bar = Progress(*columns, console=Console())
            self._task = self._bar.add_task("train", total=num_steps, facts="")

    def advance(self, step: int) -> None:
        if self._bar is not None:
            self._bar.start()  # with the first step: what fails before leaves the terminal as it was
            self._bar.update(self._task, completed=step)

    def record(self, record: dict, seconds_left: float) -> None:
        """Show one line of metrics."""
        facts = describe(record, seconds_left)
        if self._bar is not None:
            self._bar.update(self._task, facts=facts)
        elif self.shown:
            print(f"step {record['step']}/{self.num_steps}  {facts}", flush=True)

    def say(self, text: str) -> None:
        """A sentence that stays: resumed, stopped, where things are."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self.shown:
            print(text, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


NOT_LOSSES = ("step", "samples", "seconds", "samples_per_second", "mfu", "lr", "grad_norm")


def describe(record: dict, seconds_left: float) -> str:
    """One line, the most wanted first: a narrow terminal cuts the end."""
    rates = [name for name in record if name.endswith("_per_second")]
    told = [f"{record[name]:.1f} {name.removesuffix('_per_second')}/s" for name in rates]
    if "mfu" in record:
        told.append(f"{record['mfu']:.1%} of peak")
    losses = "  ".join(
        f"{name} {value:.4g}" for name, value in record.items() if name not in (*NOT_LOSSES, *rates)
    )
    ends = f"|g| {record['grad_norm']:.3g}  lr {record['lr']:.2e}"
    return "  ".join([f"{clock(seconds_left)} left", *told, losses, ends])


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
