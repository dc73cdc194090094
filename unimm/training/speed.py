"""How fast a DiT body runs, against the matrix products that the same machine does in the same minute.

The yardstick is the body's own largest matrix product, alone, in the same dtype. It is timed before and
after everything else, so what the machine does besides slows both.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unimm.dit.bodies import body_classes
from unimm.flow.grids import clean_grid
from unimm.flow.solver import euler
from unimm.training.count import body_room, count, total
from unimm.training.examples import Example, example

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""Seconds as they pass, or those that this process had a CPU for, summed over its threads: on a machine that
does other things the second tells more of the body and less of the others."""
MIN_SECONDS = 0.2
"""A yardstick shorter than this is repeated within one measurement: clocks and caches settle."""


@dataclass(frozen=True)
class SpeedPlan:
    """What is measured and how."""

    batch: int = 8
    """Pictures at once."""
    repeats: int = 5
    """Rounds; each runs everything once, the median counts."""
    steps: int = 50
    """Euler steps of a sample; 0 leaves sampling out."""
    dtype: str = "float32"
    """Of DTYPES. bf16 casts the weights for drawing, and is autocast over float32 ones for training."""
    device: str = "cpu"
    compile: bool = False
    """Whether torch compiles the body; its first runs, uncounted, take minutes."""
    clock: str = "wall"
    """Of CLOCKS; "cpu" only where the work is done by the CPU."""

    def __post_init__(self) -> None:
        for name in ("batch", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.steps < 0:
            raise ValueError(f"steps: expected 0 or more, got {self.steps}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.clock not in CLOCKS or (self.clock == "cpu" and self.device != "cpu"):
            raise ValueError(
                f"clock: expected 'wall', or on the CPU 'cpu', got {self.clock!r} on {self.device!r}"
            )
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device: no CUDA device is available to torch, got {self.device!r}")


SIZES_BESIDE = {
    "lightning": {"num_classes": 1000},
    "ddt": {"num_classes": 1000},
    "sit": {},
    "mmdit": {"patch_size": 2, "sequence_width": 4096, "pooled_width": 2048},
}
"""What a body of a chosen width has beside it: as published, ImageNet's labels or SD3's text."""


def machine(plan: SpeedPlan) -> str:
    """Return where and how a plan is measured here, in one line."""
    name = platform.machine()
    if plan.device.startswith("cuda"):
        name = torch.cuda.get_device_name(plan.device)
    elif (info := Path("/proc/cpuinfo")).exists():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        name = f"{models[0] if models else name}, {torch.get_num_threads()} threads"
    return (
        f"{name}; torch {torch.__version__}; {plan.dtype}{', compiled' if plan.compile else ''}; "
        f"batch {plan.batch}; {plan.clock} seconds, median of {plan.repeats} rounds; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    )


def sized(kind: str, width: int, depth: int, heads: int, channels: int, grid: int) -> Any:
    """Return the config of a body of chosen sizes, for timing.

    Raises:
        ValueError: no such kind, or sizes that do not fit it.
    """
    config_class = body_classes(kind)[0]
    sizes = {"width": width, "depth": depth, "heads": heads, "channels": channels, "grid": grid}
    if "condition_width" in {field.name for field in fields(config_class)}:
        sizes["condition_width"] = width
    return config_class(**sizes, **SIZES_BESIDE[kind])


@dataclass
class Task:
    """One thing that is timed."""

    name: str
    run: Callable[[], object]
    flops: int
    """Floating-point operations of one run: two per multiply-accumulate."""
    pictures: int
    """Pictures that one run handles; 0 for the yardstick."""
    seconds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def note(self, seconds: float, rate: float) -> None:
        """Keep one measurement, beside the yardstick's operations per second around it."""
        self.seconds.append(seconds)
        self.shares.append(self.flops / seconds / rate)

    def speed(self) -> Speed:
        """Return what the measurements say."""
        seconds = statistics.median(self.seconds)
        share, lowest, highest = statistics.median(self.shares), min(self.shares), max(self.shares)
        return Speed(
            self.name, seconds, self.pictures / seconds, self.flops / seconds, share, lowest, highest
        )


@dataclass(frozen=True)
class Speed:
    """What was measured of one task."""

    name: str
    seconds: float
    """Median of one run."""
    pictures_per_second: float
    flops_per_second: float
    share: float
    """Median of its rate over that of the yardstick just before and just after it."""
    lowest_share: float
    """Over the rounds; far from the median where the machine did other things."""
    highest_share: float
    """See lowest_share."""


def measure(
    body: nn.Module, plan: SpeedPlan, on_round: Callable[[int, str], None] | None = None
) -> list[Speed]:
    """Return the speeds of the yardstick, a forward, a forward with backward, and a whole sample.

    Args:
        body: a DiT body with a `config`, float32 on the CPU; it is moved.
        plan: what and how.
        on_round: called with (round, task) before each run; round 0 is the warm-up.
    """
    return compared(*tasks(body, plan), plan=plan, on_round=on_round)


def compared(
    yardstick: Task, *work: Task, plan: SpeedPlan, on_round: Callable[[int, str], None] | None = None
) -> list[Speed]:
    """Return the speeds of a yardstick and of work, each run between two runs of the yardstick."""
    for turn in range(plan.repeats + 1):
        before = _seconds(yardstick, turn, plan, on_round)
        for task in work:
            seconds = _seconds(task, turn, plan, on_round)
            after = _seconds(yardstick, turn, plan, on_round)
            if turn:
                rate = 2 * yardstick.flops / (before + after)
                yardstick.note(after, yardstick.flops / after)
                task.note(seconds, rate)
            before = after
    return [task.speed() for task in (yardstick, *work)]


def _seconds(task: Task, turn: int, plan: SpeedPlan, on_round: Callable[[int, str], None] | None) -> float:
    """Run a task once and return how long it took."""
    if on_round is not None:
        on_round(turn, task.name)
    settle, clock = settler(plan.device), CLOCKS[plan.clock]
    settle()
    start = clock()
    task.run()
    settle()
    return clock() - start


def settler(device: str) -> Callable[[], None]:
    """Return what waits until a device has done what it was asked."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def tasks(body: nn.Module, plan: SpeedPlan) -> Iterator[Task]:
    """Yield what is timed, the yardstick first."""
    dtype, device = DTYPES[plan.dtype], torch.device(plan.device)
    forward = 2 * macs_per_picture(body) * plan.batch
    trained = with_random_weights(body).to(device)
    drawn = trained if dtype == torch.float32 else deepcopy(trained).to(dtype)
    given = example(body.config, plan.batch, device)
    yield matmul_task(*largest_product(trained, given), dtype, device)
    training, velocity = trained, drawn
    if plan.compile:
        training, velocity = torch.compile(trained), torch.compile(drawn)

    def step() -> None:
        trained.train().zero_grad(set_to_none=True)
        with nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype):
            v = training(*given.arguments)
        v.float().square().mean().backward()

    cast = given.cast(dtype)

    def evaluate() -> None:
        drawn.eval()
        with torch.no_grad():
            velocity(*cast.arguments)

    def sample() -> None:
        drawn.eval()
        euler_sample(velocity, cast, plan.steps)

    yield Task("forward", evaluate, forward, plan.batch)
    yield Task("forward and backward", step, 3 * forward, plan.batch)
    if plan.steps:
        yield Task(f"sample of {plan.steps} steps", sample, plan.steps * forward, plan.batch)


@torch.no_grad()
def euler_sample(body: Callable[..., Tensor], given: Example, steps: int) -> Tensor:
    """Return latents [B N C] drawn by Euler's method from an example's x, under its conditions, unguided."""
    return euler(lambda x, t: body(x, t, given.conditions), given.x, clean_grid(steps))


@torch.no_grad()
def with_random_weights(body: nn.Module) -> nn.Module:
    """Return the body with all parameters small and random; fresh ones are zero where it matters."""
    generator = torch.Generator().manual_seed(0)
    for parameter in body.parameters():
        parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return body


def macs_per_picture(body: nn.Module) -> int:
    """Return the multiply-accumulates of one evaluation, counted on a copy without numbers."""
    with torch.device("meta"):
        bare = type(body)(body.config)
    given = example(body.config, 1, "meta")
    return total(count(bare, lambda: bare(*given.arguments), body_room())).macs


def largest_product(body: nn.Module, given: Example) -> tuple[int, int, int]:
    """Return (rows, inner, outer) of the linear layer that does the most multiply-accumulates."""
    found = []

    def note(layer: nn.Linear, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        rows = arguments[0].numel() // layer.in_features
        found.append((rows, layer.in_features, layer.out_features))

    hooks = [m.register_forward_hook(note) for m in body.modules() if isinstance(m, nn.Linear)]
    try:
        with torch.no_grad():
            body(*given.arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return max(found, key=lambda shape: shape[0] * shape[1] * shape[2])


def matmul_task(rows: int, inner: int, outer: int, dtype: torch.dtype, device: torch.device) -> Task:
    """Return a matrix product as a yardstick, repeated so often that clocks settle."""
    left = torch.randn(rows, inner, device=device, dtype=dtype)
    right = torch.randn(outer, inner, device=device, dtype=dtype)
    out = torch.empty(rows, outer, device=device, dtype=dtype)

    def run(times: int) -> None:
        for _ in range(times):
            torch.mm(left, right.mT, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()

    run(3)
    start = time.perf_counter()
    run(3)
    times = max(3, round(3 * MIN_SECONDS / (time.perf_counter() - start)))
    name = f"matmul {rows} x {inner} x {outer}"
    return Task(name, lambda: run(times), 2 * rows * inner * outer * times, 0)
