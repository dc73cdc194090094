"""The world as training data: scene number i of a seed, drawn the same on every machine; and a store of its
pictures.

Rendering takes about a millisecond a picture, less than a training step takes per sample on a GPU and more
than it takes on many cores; so pictures are rendered once, in parallel, into a memory-mapped file that every
stage reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from unimm.latents.pixels import resize_pixels
from unimm.whole import appearing, write_whole
from unimm.world.classes import sample_single
from unimm.world.held_out import sample_allowed
from unimm.world.render import render
from unimm.world.scene import Scene, pair

_CHUNK = 500  # pictures per task: half a second of work


SCENES: dict[str, Callable[[np.random.Generator], Scene]] = {
    "any": sample_allowed,
    "single": sample_single,
    "pair": partial(sample_allowed, sample=pair),
}
"""What a stream shows: any sort of scene, one thing each (those have a class), or two of different shapes."""


def scene(seed: int, index: int, scenes: str = "any") -> Scene:
    """Return training scene `index` of a seed; none shows a held-out combination."""
    return SCENES[scenes](np.random.default_rng([seed, index]))


def render_range(seed: int, start: int, stop: int, pixels: int, scenes: str = "any") -> np.ndarray:
    """Render scenes start..stop-1; uint8 [stop-start pixels pixels 3]."""
    return np.stack([render(scene(seed, index, scenes), pixels) for index in range(start, stop)])


def _tasks(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _rendered(
    seed: int, count: int, pixels: int, scenes: str, workers: int
) -> Iterable[tuple[int, np.ndarray]]:
    tasks = _tasks(count)
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(render_range, seed, start, stop, pixels, scenes) for start, stop in tasks]
        for (start, _), future in zip(tasks, track(futures, "rendering pictures"), strict=True):
            yield start, future.result()


class PictureStore:
    """Pictures of scenes 0..count-1 of a seed, uint8 [count pixels pixels 3], memory-mapped."""

    def __init__(self, folder: Path):
        facts = json.loads((folder / "store.json").read_text())
        self.seed, self.count, self.pixels = facts["seed"], facts["count"], facts["pixels"]
        self.scenes = facts.get("scenes", "any")
        shape = (self.count, self.pixels, self.pixels, 3)
        self.pictures = np.memmap(folder / "pictures.u8", np.uint8, "r", shape=shape)
        self._scenes: dict[int, Scene] = {}

    def scene(self, index: int) -> Scene:
        """Return the scene of picture `index`; remembered, as drawing it again costs more than a training
        sample may."""
        if index not in self._scenes:
            self._scenes[index] = scene(self.seed, index, self.scenes)
        return self._scenes[index]

    def pixels_of(self, indices: Iterable[int]) -> Tensor:
        """Return pictures as pixels [B 3 Hp Wp] in [0, 1]."""
        chosen = torch.from_numpy(self.pictures[np.fromiter(indices, np.int64)])
        return chosen.permute(0, 3, 1, 2).float() / 255

    @classmethod
    def build(
        cls,
        folder: Path | str,
        *,
        seed: int,
        count: int,
        pixels: int,
        scenes: str = "any",
        workers: int | None = None,
    ):
        """Open the store in a folder, rendering it first if it is not there.

        Raises:
            ValueError: the folder holds a store of another seed, count or size.
        """
        folder = Path(folder)
        wanted = {"seed": seed, "count": count, "pixels": pixels}
        if scenes != "any":  # stores written before there was a choice say nothing
            wanted["scenes"] = scenes
        if (folder / "store.json").exists():
            found = json.loads((folder / "store.json").read_text())
            if found != wanted:
                raise ValueError(
                    f"picture store {folder}: expected {wanted}, found {found}; delete it or name another"
                )
            return cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with appearing(folder / "pictures.u8") as partial:  # ranks that all find none all render the same
            pictures = np.memmap(partial, np.uint8, "w+", shape=(count, pixels, pixels, 3))
            for start, block in _rendered(seed, count, pixels, scenes, workers or os.cpu_count() or 1):
                pictures[start : start + len(block)] = block
            pictures.flush()
        write_whole(folder / "store.json", json.dumps(wanted))
        return cls(folder)


@dataclass(frozen=True)
class Pictures:
    """A picture store, as a recipe names it; rendered on first use."""

    folder: str
    count: int = 200_000
    pixels: int = 80
    seed: int = 1
    scenes: Literal["any", "single", "pair"] = "any"  # single: one thing each, for training by class

    def open(self) -> PictureStore:
        """Return the store."""
        return PictureStore.build(
            self.folder, seed=self.seed, count=self.count, pixels=self.pixels, scenes=self.scenes
        )


def on_wall(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return square pictures [B 3 S S] as [B 3 height width]: smaller, and the wall behind goes on.

    Scenes keep all their things, so what is said of them stays true.
    """
    side = min(height, width)
    small = resize_pixels(pixels, side)
    left, top = (width - side) // 2, (height - side) // 2
    edges = (left, width - side - left, top, height - side - top)
    return torch.nn.functional.pad(small, edges, mode="replicate")
