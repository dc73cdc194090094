"""The calibrations of a model in a file beside its weights: plain JSON, checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unimm.verify.calibration import Calibration
from unimm.whole import read_json, write_whole

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibrations:
    """Maps by the verifier they are for, and what they hold for."""

    maps: Mapping[str, Calibration] = field(default_factory=dict)
    weights: str | None = None  # mark of the weights they were measured on
    conditions: Mapping[str, Any] = field(default_factory=dict)  # settings a score depends on


def write_calibrations(path: Path, calibrations: Calibrations) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    text = json.dumps(asdict(calibrations), indent=1, allow_nan=False) + "\n"
    write_whole(path, text)


def read_calibrations(path: Path) -> Calibrations:
    """Return the calibrations of a file; none where there is no file.

    Raises:
        ValueError: the file is not of this form, or a map in it is none.
    """
    if not path.is_file():
        return Calibrations()
    value = read_json(path, object)
    fields = _fields(path, "file", value, {"maps": dict, "weights": (str, type(None)), "conditions": dict})
    maps = {name: _calibration(path, name, row) for name, row in fields["maps"].items()}
    return Calibrations(maps, fields["weights"], fields["conditions"])


def _calibration(path: Path, name: str, row: Any) -> Calibration:
    kinds = {"kind": str, "scores": list, "probabilities": list, "n": int, "facts": dict}
    fields = _fields(path, name, row, kinds)
    for key in ("scores", "probabilities"):
        if any(isinstance(x, bool) or not isinstance(x, int | float) for x in fields[key]):
            raise ValueError(f"{path}: {name}.{key}: expected numbers")
        fields[key] = tuple(map(float, fields[key]))
    try:
        return Calibration(**fields)
    except ValueError as error:
        raise ValueError(f"{path}: {name}: {error}") from None


def _fields(path: Path, name: str, value: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object's fields; exactly these must be there, each of its kind."""
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{path}: {name}: expected the fields {', '.join(kinds)}, got {found}")
    wrong = [key for key, kind in kinds.items() if not isinstance(value[key], kind)]
    if wrong:
        raise ValueError(
            f"{path}: {name}.{wrong[0]}: got {str(value[wrong[0]])[:40]!r}, which is of another kind"
        )
    return dict(value)
