"""metrics.jsonl: one line of facts per interval, safe to append to after a resume. The one door to wandb."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from unimm.whole import write_whole


class MetricLog:
    """Appends to `metrics.jsonl`. Opening it at a step drops the lines after it, and a torn last one."""

    def __init__(self, folder: Path, step: int, wandb_project: str | None = None, config: dict | None = None):
        self.path = folder / "metrics.jsonl"
        self._wandb = _start_wandb(wandb_project, folder, config) if wandb_project else None
        _drop_after(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._wandb is not None:
            self._wandb.log(record, step=record["step"])

    def close(self) -> None:
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The whole lines of a run's metrics, in order; [] where there are none."""
    path = Path(folder) / "metrics.jsonl"
    return [record for _, record in _whole_lines(path)] if path.exists() else []


def _whole_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append((line, json.loads(line)))
        except json.JSONDecodeError:  # a process killed while writing leaves half a last line
            break
    return lines


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line, record in _whole_lines(path) if record["step"] <= step]
    write_whole(path, "".join(line + "\n" for line in kept))


def _start_wandb(project: str, folder: Path, config: dict | None):
    try:
        import wandb
    except ImportError:
        raise ValueError(
            f"wandb_project: {project!r} needs wandb, which is not installed; install it, or leave this out"
        ) from None
    name, number = folder.absolute().name, _wandb_id(folder / "wandb-id")
    return wandb.init(project=project, name=name, id=number, dir=folder, resume="allow", config=config)


def _wandb_id(path: Path) -> str:
    """Return what wandb knows a run by: drawn once and kept, as folders of one name are not one run."""
    if not path.is_file():
        write_whole(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8")
