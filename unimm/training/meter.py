"""How fast a run is: what it takes in per second, and which part of the machine's arithmetic that is."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from unimm.training.recipe import TrainRecipe
from unimm.training.stage import Stage


class Peak(NamedTuple):
    """What a GPU can do at most, dense matrix products in 10^12 operations per second."""

    bf16: float
    """With float32 sums; of float16 where there is no bfloat16."""
    float32: float
    """In float32 itself: torch rounds matrices to TF32 only when told to; convolutions may go beyond it."""

    def at(self, precision: str) -> float:
        """Return that of a recipe's precision."""
        return self.bf16 if precision == "bf16" else self.float32


PEAKS = {
    "B200": Peak(2250.0, 75.0), "H200": Peak(989.4, 66.9), "H100 PCIe": Peak(756.0, 51.2),
    "H100": Peak(989.4, 66.9), "A100": Peak(311.8, 19.5), "A10G": Peak(70.0, 35.0), "L40S": Peak(362.1, 91.6),
    "L4": Peak(121.0, 30.3), "RTX 4090": Peak(165.2, 82.6), "RTX 3090": Peak(71.2, 35.6),
    "V100": Peak(125.0, 15.7), "T4": Peak(65.1, 8.1),
}  # fmt: skip
"""By words of a device's name, from NVIDIA's data sheets. The first that fits counts."""


class Meter:
    """Sums up what batches hold since the last line of metrics, or since this part of the run began.

    Whoever adds batches adds to `seconds` the time that they took.

    A stage may say how much that is: `amounts(batch)`, numbers by name such as images and tokens, and
    `flops(batch)`, the floating-point operations of the model for it, forward and backward, without what is
    computed twice to save memory.
    """

    def __init__(self, recipe: TrainRecipe, stage: Stage, device: torch.device):
        self._stage, self._sums, self.seconds = stage, Counter(), 0.0
        counts = hasattr(stage, "flops")
        self._peak = (recipe.peak_tflops or peak_tflops(device, recipe.precision)) if counts else None

    def add(self, batch: Any) -> None:
        """Count a micro-batch."""
        for name, amount in getattr(self._stage, "amounts", lambda _: {})(batch).items():
            self._sums[f"{name}_per_second"] += float(amount)
        if self._peak is not None:
            self._sums["mfu"] += float(self._stage.flops(batch)) / (self._peak * 1e12)

    def rates(self, mean: Callable[[dict[str, float]], Mapping[str, float]], world: int) -> dict[str, float]:
        """Return what all ranks took in per second, and of "mfu" a device's part; begin anew.

        Args:
            mean: of numbers by name over the ranks.
            world: how many ranks there are.
        """
        amounts, seconds = mean(dict(self._sums)), max(self.seconds, 1e-9)
        self._sums, self.seconds = Counter(), 0.0
        each = {name: amount * (1 if name == "mfu" else world) / seconds for name, amount in amounts.items()}
        return {name: float(f"{rate:.5g}") for name, rate in each.items()}


def peak_tflops(device: torch.device, precision: str) -> float | None:
    """Return what a device can do at most, in 10^12 operations per second; None for an unknown GPU.

    Of a CPU, what a large matrix product of torch reaches just now.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = (peak for part, peak in PEAKS.items() if re.search(rf"\b{part}\b", name))
        return next((peak.at(precision) for peak in known), None)
    return _measured(torch.bfloat16 if precision == "bf16" else torch.float32)


def _measured(dtype: torch.dtype, size: int = 768, rounds: int = 5) -> float:
    """Return the rate of a square matrix product, the best of some rounds."""
    a = torch.ones(size, size, dtype=dtype)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e12
