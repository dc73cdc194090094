"""Drawing and choosing, timed beside what they are held against, in turn, so that what else the machine does
slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch

from unimm.model import UniMM
from unimm.training.examples import example
from unimm.training.inference.naive import best_naively
from unimm.training.inference.peak import Peak
from unimm.training.inference.stopwatch import STAGES, Stopwatch
from unimm.training.speed import CLOCKS, DTYPES, SpeedPlan, euler_sample, settler

PROMPTS = [
    f"{number} {colour} {shape}"
    for shape, number, colour in product(
        ("stars", "hearts", "circles", "squares"),
        ("two", "three", "four"),
        ("red", "blue", "green", "yellow"),
    )
]
"""Different ones, so that none is read for another."""


@dataclass(frozen=True)
class InferencePlan:
    """What is timed and how; without guidance, pictures as PIL."""

    batches: tuple[int, ...] = (1, 2, 4, 8)
    """Pictures of as many prompts, drawn together."""
    candidates: tuple[int, ...] = (8,)
    """N of best-of-N, for one prompt."""
    steps: int = 50
    """Of the sampler for batches."""
    best_steps: int = 50
    """Of the sampler for candidates."""
    repeats: int = 3
    """Rounds; each runs everything once, the median counts."""
    dtype: str = "float32"
    """Of `training.speed.DTYPES`."""
    device: str = "cpu"
    clock: str = "wall"
    """Of `training.speed.CLOCKS`."""

    def __post_init__(self) -> None:
        for name in ("batches", "candidates"):
            counts = getattr(self, name)
            wrong = [count for count in counts if count < 1 or count > len(PROMPTS)]
            if wrong:
                raise ValueError(f"{name}: expected numbers from 1 to {len(PROMPTS)}, got {wrong[0]}")
        if self.best_steps < 1 or self.steps < 1:
            raise ValueError(f"steps: expected 1 or more, got {min(self.steps, self.best_steps)}")
        self.speed(1)

    def speed(self, batch: int) -> SpeedPlan:
        """Return how the DiT alone is timed on so many pictures; refuses what is no plan."""
        return SpeedPlan(batch, self.repeats, self.steps, self.dtype, self.device, clock=self.clock)


@dataclass
class Timed:
    """One call, round by round."""

    name: str
    run: Callable[[], Any]
    pictures: int
    """That come out."""
    peak: int = 0
    """Bytes beside the weights at the fullest moment."""
    stages: list[dict[str, float]] = field(default_factory=list)

    @property
    def totals(self) -> list[float]:
        """Seconds of each round."""
        return [sum(stages.values()) for stages in self.stages]

    def facts(self) -> dict[str, Any]:
        """Return medians over the rounds, per picture that comes out."""
        spent = {
            stage: statistics.median(found.get(stage, 0.0) for found in self.stages) / self.pictures
            for stage in STAGES
        }
        seconds = statistics.median(self.totals)
        return {
            "name": self.name,
            "seconds": seconds,
            "images_per_second": self.pictures / seconds,
            "stages": spent,
            "peak_bytes": self.peak,
        }


def time_drawing(model: UniMM, plan: InferencePlan, on_run: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what drawing batches took, with "of_dit": its rate over that of the DiT's sample alone, and
    "over_single": its rate over that of pictures drawn one at a time.

    Args:
        model: on the plan's device, in its dtype.
        plan: what and how.
        on_run: told of each run before it begins.
    """
    alone = {batch: _sample(model, plan, batch) for batch in plan.batches}
    drawn = {batch: _drawing(model, batch, plan.steps) for batch in plan.batches}
    for batch in plan.batches:
        _measure_peak(model, drawn[batch], _drawing(model, batch, 1), plan, on_run)
    samples: dict[int, list[float]] = {batch: [] for batch in plan.batches}
    singles: dict[int, list[float]] = {batch: [] for batch in plan.batches}
    for turn in range(plan.repeats):
        for batch in plan.batches:
            on_run(f"{batch} at once, round {turn + 1} of {plan.repeats}")
            samples[batch].append(_seconds(alone[batch], model, plan))
            drawn[batch].stages.append(_stages(drawn[batch].run, model, plan))
            one_by_one = _one_by_one(model, batch, plan.steps)
            singles[batch].append(
                drawn[batch].totals[-1] if batch == 1 else _seconds(one_by_one, model, plan)
            )
    return [
        {
            **timed.facts(),
            "of_dit": _median_ratio(samples[batch], timed.totals),
            "over_single": _median_ratio(singles[batch], timed.totals),
        }
        for batch, timed in drawn.items()
    ]


def time_choosing(model: UniMM, plan: InferencePlan, on_run: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what best-of-N took, with "naive", the same of the naive order, "ratio", the naive seconds over
    ours, and "judging", the time of judging over that of drawing the same candidates. Arguments as above."""
    found = []
    for n in plan.candidates:
        ours, naive = _choosing(model, n, plan.best_steps), _choosing_naively(model, n, plan.best_steps)
        _measure_peak(model, ours, _choosing(model, n, 1), plan, on_run)
        _measure_peak(model, naive, _choosing_naively(model, n, 1), plan, on_run)
        for turn in range(plan.repeats):
            for timed in (ours, naive):
                on_run(f"{timed.name}, round {turn + 1} of {plan.repeats}")
                timed.stages.append(_stages(timed.run, model, plan))
        shares = [stages["judge"] / stages["draw"] for stages in ours.stages]
        ratio = _median_ratio(naive.totals, ours.totals)
        judging = statistics.median(shares)
        found.append({**ours.facts(), "naive": naive.facts(), "ratio": ratio, "judging": judging})
    return found


def _drawing(model: UniMM, batch: int, steps: int) -> Timed:
    return Timed(f"{batch} at once", lambda: _draw(model, PROMPTS[:batch], steps), batch)


def _one_by_one(model: UniMM, batch: int, steps: int) -> Callable[[], Any]:
    return lambda: [_draw(model, PROMPTS[place : place + 1], steps) for place in range(batch)]


def _choosing(model: UniMM, n: int, steps: int) -> Timed:
    run = lambda: _draw(model, PROMPTS[:1], steps, best_of=n, verifier="answer_logits")  # noqa: E731
    return Timed(f"best of {n}", run, 1)


def _choosing_naively(model: UniMM, n: int, steps: int) -> Timed:
    options = {"num_inference_steps": steps, "guidance_scale": 1.0}
    return Timed(f"naive best of {n}", lambda: best_naively(model, PROMPTS[:1], n, **options), 1)


def _draw(model: UniMM, prompts: Sequence[str], steps: int, **options: Any) -> Any:
    return model.generate_image(prompts, num_inference_steps=steps, guidance_scale=1.0, seed=0, **options)


def _sample(model: UniMM, plan: InferencePlan, batch: int) -> Callable[[], Any]:
    """Return the DiT's sample alone, as `tools.bench_dit` times it."""
    given = example(model.dit.config, batch, plan.device).cast(DTYPES[plan.dtype])
    return lambda: euler_sample(model.dit, given, plan.steps)


def _stages(run: Callable[[], Any], model: UniMM, plan: InferencePlan) -> dict[str, float]:
    with Stopwatch(model, CLOCKS[plan.clock], settler(plan.device)) as watch:
        run()
    return dict(watch.seconds)


def _seconds(run: Callable[[], Any], model: UniMM, plan: InferencePlan) -> float:
    return sum(_stages(run, model, plan).values())


def _measure_peak(
    model: UniMM, timed: Timed, short: Timed, plan: InferencePlan, on_run: Callable[[str], None]
) -> None:
    """Note the memory of a call, from one of a single step, which also warms what it needs up."""
    on_run(f"{timed.name}, its memory")
    if plan.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(plan.device)
        before = torch.cuda.memory_allocated(plan.device)
        short.run()
        timed.peak = torch.cuda.max_memory_allocated(plan.device) - before
        return
    with Peak() as peak:
        short.run()
    timed.peak = peak.most


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
