"""Where a run is, between two updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class State:
    """What the loop counts. All of it is in a checkpoint."""

    step: int = 0  # updates, those that were skipped too
    samples: int = 0  # position in the stage's stream
    seconds: float = 0.0  # spent training, pictures and checkpoints aside, over all parts of the run
    skipped: int = 0  # updates that changed nothing, as their losses were no numbers
    interval_steps: int = 0  # updates since the last line of metrics
    interval_seconds: float = 0.0
    interval_skipped: int = 0
    sums: dict[str, Any] = field(default_factory=dict)  # losses since the last line of metrics
    counts: dict[str, float] = field(default_factory=dict)  # what the stage counts, over all ranks

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Self:
        """Return the state in a checkpoint's facts."""
        return cls(**{name: saved[name] for name in cls.__dataclass_fields__ if name in saved})

    def advance(self, samples: int, losses: Mapping[str, Any] | None) -> None:
        """Count an update and its losses; None: it was skipped."""
        self.step += 1
        self.samples += samples
        self.interval_steps += 1
        if losses is None:
            self.skipped += 1
            self.interval_skipped += 1
        else:
            self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.items()}

    def add_seconds(self, seconds: float) -> None:
        """Count time spent training."""
        self.seconds += seconds
        self.interval_seconds += seconds

    def means(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the losses per update that was done since the last line of metrics."""
        done = max(1, self.interval_steps - self.interval_skipped)
        return {name: value / done for name, value in sums.items()}

    def begin_interval(self) -> None:
        """Forget what was counted for the last line of metrics."""
        self.sums, self.interval_steps, self.interval_skipped, self.interval_seconds = {}, 0, 0, 0.0
