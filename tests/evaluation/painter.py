"""A model that draws the world's truth, or a planted mistake, for runs of benchmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.evaluation.pretend import SIDE, Pretender
from unimm.evaluation.bench import BENCHMARKS
from unimm.evaluation.bench.benchmark import Source
from unimm.evaluation.generate import Plan, Share, generate
from unimm.evaluation.judges.oracle import OracleColors, OracleDetector
from unimm.evaluation.run import Sampling, model_facts
from unimm.evaluation.session import prompts_for
from unimm.world import vocabulary as words
from unimm.world.grammar import parse
from unimm.world.render import render
from unimm.world.scene import Scene
from unimm.world.spec import Spec
from unimm.world.staging import scene_for

ORACLES = {"detector": OracleDetector(), "classifier": OracleColors()}


class Painter(Pretender):
    """Draws a scene of each prompt, and any prompt it cannot read as a patch of colour."""

    def __init__(self, paint: Callable[[Spec, np.random.Generator], Scene] = scene_for, **options: Any):
        super().__init__(paint, **options)
        self.calls: list[list[str]] = []
        self.asked: list[dict[str, Any]] = []

    def generate_image(self, prompt, *, num_images_per_prompt, seed, output_type, **options):
        if self.patience is not None and self.drawn >= self.patience:
            raise KeyboardInterrupt
        assert output_type == "pil"
        self.drawn += len(prompt) * num_images_per_prompt
        self.calls.append(list(prompt))
        self.asked.append(options)
        pictures = [
            self._picture(text, first + index)
            for text, first in zip(prompt, seed, strict=True)
            for index in range(num_images_per_prompt)
        ]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        return SimpleNamespace(images=[*map(Image.fromarray, pictures)], latents=self.encode_image(pixels))

    def _picture(self, text: str, seed: int) -> np.ndarray:
        spec, rng = parse(text), np.random.default_rng(seed)
        if spec is None:
            return np.full((SIDE, SIDE, 3), rng.integers(256, size=3), np.uint8)
        return render(self.paint(spec, rng), SIDE)


class Crowded(Painter):
    """Draws a picture that tells which prompts were drawn beside it, as rounding may."""

    def generate_image(self, prompt, **options):
        drawn = super().generate_image(prompt, **options)
        mates = hashlib.sha256("\n".join(prompt).encode()).digest()[:3]
        for image in drawn.images:
            image.putpixel((0, 0), tuple(mates))
        return drawn


def plan_of(bench: str = "world", source: Source | None = None, samples: int = 1, **options: Any) -> Plan:
    """Return a small plan; `sampling` are fields of Sampling."""
    benchmark = BENCHMARKS[bench]
    prompts = prompts_for(benchmark, source or Source(limit=12))
    sampling = Sampling(**options.pop("sampling", {"steps": 2}))
    return Plan(bench, prompts, benchmark.layout, samples, sampling, **{"batch_size": 4, **options})


def draw(model: Any, plan: Plan, run, share: Share | None = None) -> int:
    """Draw a plan into a folder."""
    return generate(model, plan, run, plan.identity(model_facts(model, "painter")), share)


def pictures_of(run) -> Mapping[str, bytes]:
    """Return every picture of a run, by its path in it."""
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(run.rglob("*.png"))}


# One planted mistake per family, which no other family's rules can see.


def _recoloured(scene: Scene, colours: list[str]) -> Scene:
    things = zip(scene.things, colours, strict=True)
    return replace(scene, things=tuple(replace(thing, colour=colour) for thing, colour in things))


def other_shape(spec: Spec, rng: np.random.Generator) -> Scene:
    """Another shape where one uncoloured thing is asked for."""
    scene, mention = scene_for(spec, rng), spec.mentions[0]
    if len(spec.mentions) > 1 or mention.colour or mention.count > 1:
        return scene
    others = [shape for shape in words.SHAPES if shape != mention.shape]
    return replace(scene, things=(replace(scene.things[0], shape=others[0]),))


def second_lost(spec: Spec, rng: np.random.Generator) -> Scene:
    """Only the first of two things of which nothing more is said."""
    scene = scene_for(spec, rng)
    plain = len(spec.mentions) == 2 and spec.relation is None and spec.mentions[0].colour is None
    return replace(scene, things=scene.things[:1]) if plain else scene


def one_too_few(spec: Spec, rng: np.random.Generator) -> Scene:
    """A thing less where a number is asked for."""
    fewer = tuple(replace(m, count=m.count - 1) if m.exact else m for m in spec.mentions)
    return scene_for(replace(spec, mentions=fewer), rng)


def one_too_many(spec: Spec, rng: np.random.Generator) -> Scene:
    """A thing more where two or three are asked for, one less where there is room for no more."""
    more = tuple(replace(m, count=m.count + 1 if m.count < 4 else 3) if m.exact else m for m in spec.mentions)
    return scene_for(replace(spec, mentions=more), rng)


def other_colour(spec: Spec, rng: np.random.Generator) -> Scene:
    """Another colour where a single thing's is asked for."""
    scene, names = scene_for(spec, rng), list(words.COLOURS)
    if len(spec.mentions) > 1 or spec.mentions[0].colour is None:
        return scene
    return _recoloured(scene, [names[(names.index(spec.mentions[0].colour) + 1) % 10]])


def mirrored(spec: Spec, rng: np.random.Generator) -> Scene:
    """Left for right and above for below."""
    scene = scene_for(spec, rng)
    return replace(scene, things=tuple(replace(t, x=1 - t.x, y=1 - t.y) for t in scene.things))


def colours_swapped(spec: Spec, rng: np.random.Generator) -> Scene:
    """Each of two things in another colour, where both are asked for."""
    scene, names = scene_for(spec, rng), list(words.COLOURS)
    if len(spec.mentions) < 2 or None in (m.colour for m in spec.mentions):
        return scene
    return _recoloured(scene, [names[(names.index(m.colour) + 1) % 10] for m in spec.mentions])


DEFECTS = {
    "single_object": other_shape,
    "two_object": second_lost,
    "counting": one_too_few,
    "colors": other_colour,
    "position": mirrored,
    "color_attr": colours_swapped,
}
