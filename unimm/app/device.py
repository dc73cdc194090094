"""Where to compute, by name."""

from __future__ import annotations

from typing import Any


def device_named(name: str) -> Any:
    """Return a device that torch knows and has, or say what it has."""
    import torch

    has = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name not in (*has, "cuda") or (name == "cuda" and len(has) == 1):
        raise ValueError(f"--device: expected one of {', '.join(has)}, got {name!r}")
    return torch.device(name)
