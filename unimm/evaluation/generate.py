"""Prompts to pictures in a benchmark's own layout: batched, resumable, and cut over ranks at will."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from unimm.evaluation.bench.items import PLACE, Item, PromptSet, check_template
from unimm.evaluation.bench.kept import keep_prompts
from unimm.evaluation.bench.layouts import Layout
from unimm.evaluation.records import append_lines
from unimm.evaluation.run import Sampling, open_run, seed_of
from unimm.evaluation.store import stage
from unimm.evaluation.tiles import png, whole
from unimm.evaluation.writer import Writer
from unimm.request import positive
from unimm.whole import write_whole

Place = tuple[Item, int]
"""A prompt and the number of one of its pictures."""
SCORES = "scores.jsonl"
"""What verifiers think of every picture, where a run was asked to say."""


@dataclass(frozen=True)
class Plan:
    """What is drawn."""

    benchmark: str
    prompts: PromptSet
    layout: Layout
    samples: int
    """Pictures per prompt."""
    sampling: Sampling = field(default_factory=Sampling)
    template: str = PLACE
    seed: int = 0
    batch_size: int = 16
    """Candidates that are drawn together."""
    verifiers: tuple[str, ...] = ()
    """Who scores every picture, for curves of best of N."""

    def __post_init__(self) -> None:
        check_template(self.template)
        positive("--samples", self.samples)
        positive("--batch-size", self.batch_size)
        self.layout.check(self.samples)
        seed_of(self.seed, 0, self.samples - 1)
        if self.sampling.selection == "top" and self.sampling.best_of < self.samples:
            raise ValueError(
                f"--best-of: expected at least the {self.samples} pictures that are kept, "
                f"got {self.sampling.best_of}"
            )

    def identity(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return what makes two runs one: everything but how the work was cut."""
        return {
            "benchmark": self.benchmark,
            "layout": self.layout.name,
            "prompts": self.prompts.facts() | {"template": self.template},
            "samples": self.samples,
            "seed": self.seed,
            "sampling": self.sampling.facts(model),
            "verifiers": list(self.verifiers),
            "model": dict(model),
        }

    def words(self, item: Item) -> str:
        """Return what the model is told to draw."""
        return self.template.replace(PLACE, item.words)


@dataclass(frozen=True)
class Unit:
    """What is drawn from one first seed: a picture, or all pictures of a prompt that are chosen together."""

    item: Item
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Share:
    """Which part of the work is this process's."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"--rank: expected 0 to {self.world_size - 1}, got {self.rank}")

    @classmethod
    def of_environment(cls, rank: int | None = None, world_size: int | None = None) -> Share:
        """Return the share that was asked for, or that torchrun tells."""
        told = {"RANK": rank, "WORLD_SIZE": world_size}
        found = {name: os.environ.get(name) if value is None else value for name, value in told.items()}
        return cls(int(found["RANK"] or 0), int(found["WORLD_SIZE"] or 1))


def generate(
    model: Any, plan: Plan, run: Path, identity: Mapping[str, Any], share: Share | None = None
) -> int:
    """Draw every picture of a plan that is not there yet; return how many were drawn.

    A picture depends on its prompt, its seed and the settings. The work is cut into blocks in the
    benchmark's order whatever is done already and whoever does it, so that neither a resumed run nor one on
    several ranks puts other prompts beside it.

    Args:
        model: anything with UniMM's public face.
        plan: what.
        run: the folder; `run.json` in it says what it is.
        identity: `plan.identity(model_facts(...))`.
        share: which part of the work; all of it if none is given.

    Raises:
        ValueError: the folder holds a run with other settings.
        OSError: the disk is full; whatever was written is whole.
    """
    open_run(run, identity)
    keep_prompts(run, plan.prompts)
    share = share or Share()
    mine = list(blocks(plan))[share.rank :: share.world_size]
    with stage("looking at what is there", len(mine)) as advance:
        lacking = [_lacking(run, plan, block, advance) for block in mine]
    drawn = sum(map(len, lacking))
    with stage(f"drawing for {plan.benchmark}", drawn) as advance, Writer() as writer:
        for block, places in zip(mine, lacking, strict=True):
            if places:
                _draw(model, plan, run, block, places, writer)
            writer.put(partial(_finish, run, plan, block))
            advance(len(places))
    plan.layout.close(run, run / plan.layout.folder, plan.prompts.items)
    return drawn


def units(plan: Plan) -> list[Unit]:
    """Return what is drawn, in the benchmark's order."""
    every = tuple(range(plan.samples))
    together = plan.sampling.selection == "top" or plan.verifiers
    parts = [every] if together else [(sample,) for sample in every]
    return [Unit(item, samples) for item in plan.prompts.items for samples in parts]


def blocks(plan: Plan) -> Iterator[list[Unit]]:
    """Yield what is drawn together."""
    every = units(plan)
    size = max(1, plan.batch_size // max(plan.sampling.best_of, len(every[0].samples)))
    for start in range(0, len(every), size):
        yield every[start : start + size]


def _places(block: Sequence[Unit]) -> list[Place]:
    return [(unit.item, sample) for unit in block for sample in unit.samples]


def _lacking(run: Path, plan: Plan, block: Sequence[Unit], advance: Callable[[int], None]) -> list[Place]:
    """Return the pictures of a block that are not there, or not whole."""
    advance(1)
    return [place for place in _places(block) if not whole(run / plan.layout.sample(*place))]


def _draw(
    model: Any, plan: Plan, run: Path, block: Sequence[Unit], lacking: Sequence[Place], writer: Writer
) -> None:
    """Draw a block whole, as in a run that was never cut off, and keep what is lacking."""
    out = model.generate_image(
        [plan.words(unit.item) for unit in block],
        num_images_per_prompt=len(block[0].samples),
        seed=[seed_of(plan.seed, unit.item.index, unit.samples[0]) for unit in block],
        output_type="pil",
        **plan.sampling.options(),
    )
    lines = _scores(model, plan, out.latents, _places(block))
    if lines:  # before the pictures: where a picture is, its scores are
        writer.put(partial(append_lines, run / SCORES, lines))
    for place, picture in zip(_places(block), out.images, strict=True):
        if place in lacking:
            writer.put(partial(_save, run / plan.layout.sample(*place), picture))


def _scores(model: Any, plan: Plan, latents: Any, places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return what each verifier thinks of each picture; it judges by the prompt that was drawn."""
    lines = []
    for verifier in plan.verifiers:
        scores = model.verify(latents, [item.words for item, _ in places], verifier)
        lines += [
            {"item": item.index, "sample": sample, "verifier": verifier, "score": _plain(score)}
            for (item, sample), score in zip(places, scores, strict=True)
        ]
    return lines


def _plain(score: float) -> float | None:
    """Return a score as JSON can say it: None is one that is no number."""
    return float(score) if math.isfinite(score) else None


def _save(path: Path, picture: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png(picture))


def _finish(run: Path, plan: Plan, block: Sequence[Unit]) -> None:
    """Make what samples are made into, of the prompts in a block whose samples are all there.

    A prompt may lie in two blocks, even of two processes: whoever comes last sees all of its samples.
    """
    for item in {unit.item.index: unit.item for unit in block}.values():
        paths = [run / plan.layout.sample(item, sample) for sample in range(plan.samples)]
        if all(path.is_file() for path in paths):
            plan.layout.finish(run, item, plan.samples)
