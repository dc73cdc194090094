"""Devices by name, and what is assumed about them."""

from __future__ import annotations

from dataclasses import dataclass

from unimm.training.meter import PEAKS, Peak

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A GPU, by its maker's figures."""

    memory_bytes: int
    peak: Peak


DEVICES = {
    "h100": Device(80 * GIB, PEAKS["H100"]),
    "h200": Device(141 * GIB, PEAKS["H200"]),
    "b200": Device(180 * GIB, PEAKS["B200"]),
    "a100-80": Device(80 * GIB, PEAKS["A100"]),
    "a100-40": Device(40 * GIB, PEAKS["A100"]),
    "l40s": Device(48 * GIB, PEAKS["L40S"]),
    "rtx4090": Device(24 * GIB, PEAKS["RTX 4090"]),
}
"""The SXM forms where there are several."""


@dataclass(frozen=True)
class Assumptions:
    """What is not counted. A measured run replaces them."""

    utilisation: float = 0.4
    """Part of the peak that a step reaches, model FLOPs only."""
    context_bytes: int = GIB
    """Of CUDA itself, its kernels and NCCL's buffers."""
    slack: float = 0.08
    """Part of what is allocated that fragments or lies in workspaces."""
    devices_per_host: int = 8
    host_bytes: int | None = None
    """Memory of one host; None: not known, nothing is refused for it."""

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation: expected a number above 0 and up to 1, got {self.utilisation}")
        if not 0 <= self.slack < 1:
            raise ValueError(f"slack: expected a number from 0 to below 1, got {self.slack}")
        if self.devices_per_host < 1:
            raise ValueError(f"devices_per_host: expected 1 or more, got {self.devices_per_host}")
