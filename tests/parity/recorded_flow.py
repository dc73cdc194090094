"""What the tests of recorded flows share: their names, and the analytic velocity they were drawn with."""

from __future__ import annotations

import json
import re
from functools import partial

from tests.conftest import ROOT
from unimm.flow import dopri5_past_end, euler, heun, midpoint, rk4_38

TORCHDIFFEQ = {"euler": euler, "heun2": heun, "midpoint": midpoint, "rk4": rk4_38, "dopri5": dopri5_past_end}
"""Ours by the names of its methods."""


def cases(recorded, pattern):
    """Return (groups of the name, tensor) for every recorded name that matches, at least one."""
    found = [(m.groups(), x) for name, x in recorded.tensors.items() if (m := re.fullmatch(pattern, name))]
    assert found, f"no tensor named {pattern}"
    return found


def beside(recorded):
    """Return the JSON file that stands beside a recorded file."""
    return json.loads((ROOT / f"{recorded.name}.json").read_text(encoding="utf-8"))


def recorded_velocity(recorded):
    """Return the velocity of the data that a file's metadata names."""
    field = json.loads(recorded.metadata["config"])["field"]
    found = re.search(r"mu[ =]([\d.]+),? s[ =]([\d.]+)|N\(([\d.]+),([\d.]+)\^2\)", field)
    mean, std = (float(text) for text in found.groups() if text)
    return partial(gaussian_velocity, mean=mean, std=std)


def gaussian_velocity(x, t, mean, std):
    """Return E[e - x | x_t] on the straight path for data N(mean, std^2); x [B ...], t [B]."""
    t = t.reshape(-1, *[1] * (x.dim() - 1))
    gain = (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2)
    return gain * (x - (1 - t) * mean) - mean
