"""What every part of the room refuses, in one voice. Checks of tensors run at the doors, never per step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import MISSING, fields
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

ROUNDING = 1e-6
"""How far beyond 0 or 1 a time may lie: a shift in float32 can round 1 up by 1e-7."""


def refuse_unused(settings: Any, used: Collection[str]) -> None:
    """Refuse a value that was set, of a dataclass with a `kind`, and that this kind would not read.

    Raises:
        ValueError: a field outside `used` differs from its default.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "kind" or field.name in used or field.default in (MISSING, value):
            continue
        raise ValueError(
            f"{field.name}: the {settings.kind!r} {type(settings).__name__.lower()} does not use it, "
            f"got {value}; leave it at {field.default}"
        )


def check_steps(steps: int, name: str = "steps") -> None:
    """Refuse a step count below 1, or that is no whole number."""
    if not isinstance(steps, Integral) or isinstance(steps, bool):
        raise ValueError(f"{name}: expected a whole number of at least 1, got {steps!r}")
    if steps < 1:
        raise ValueError(f"{name}: expected at least 1, got {steps}")


def check_grid(grid: Tensor) -> None:
    """Refuse what is no time grid: fewer than two points, or a time outside [0, 1]."""
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid: expected at least two times [steps + 1], got shape {tuple(grid.shape)}")
    check_times(grid, "grid")


def check_times(t: Tensor, name: str = "t") -> None:
    """Refuse times outside [0, 1], NaN among them."""
    wrong = outside(t)
    if wrong.any():
        raise ValueError(
            f"{name}: expected times in [0, 1] (0 data, 1 noise), got {t[wrong].flatten()[0].item():g}; "
            "published timesteps of 0 to 1000 are divided by 1000"
        )


def outside(t: Tensor) -> Tensor:
    """Return where t leaves [0, 1] by more than rounding, or is NaN; bool, the shape of t."""
    return ~((t >= -ROUNDING) & (t <= 1 + ROUNDING))


def check_finite(x: Tensor, name: str, hint: str) -> None:
    """Refuse infinities and NaN; costs one look at the device."""
    finite = torch.isfinite(x)
    if not finite.all():
        bad = x.numel() - int(finite.sum())
        raise ValueError(f"{name}: expected finite numbers, got {bad} of {x.numel()} that are not; {hint}")


def check_velocity(v: Tensor, x: Tensor, name: str = "velocity") -> None:
    """Refuse an output of another shape than the state: it would broadcast."""
    if v.shape != x.shape:
        raise ValueError(f"{name}: expected the shape of x {tuple(x.shape)}, got {tuple(v.shape)}")
