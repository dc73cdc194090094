"""What linear probes read from frozen encoders, two of them on the same pictures, and the paired difference.

Pictures show one thing; its shape, colour and size and the background are asked for. A probe sees the mean of
the raw latents over the tokens, as in REPA (Yu et al. 2025). It is trained in closed form on one set of
pictures and measured on two others: one shows the same combinations, the other those which neither the probe
nor any training stream is ever shown (`unimm.world.held_out`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from unimm.alignment.ridge import fit_ridge
from unimm.config import build
from unimm.evaluation.paired import Card, as_json, paired_row, show
from unimm.evaluation.world.command import Parser
from unimm.latents.encoder import Encoder, EncoderConfig, build_encoder
from unimm.latents.pixels import resize_pixels
from unimm.loaded import quiet
from unimm.weights.folder import load_strictly
from unimm.whole import write_whole
from unimm.world import vocabulary as words
from unimm.world.classes import sample_single
from unimm.world.held_out import in_scene
from unimm.world.render import render
from unimm.world.scene import Scene, single

Weights = Callable[[str | Path, str], Mapping[str, Tensor]]
"""`weights(run, "encoder")`: the newest (averaged) ones of a training run."""

RANDOM = "random"
_SEED = 7_400_000  # of the scenes; no training stream and no other benchmark uses it
_STREAMS = ("training", "held_in", "held_out")
_SIDE = 80  # pixels of a picture, or more where the encoder takes more
_BATCH = 64  # pictures rendered and encoded together


@dataclass(frozen=True)
class Task:
    """What is asked about the one thing of a scene, or about its background."""

    classes: tuple[str, ...]
    of: Callable[[Scene], str]


TASKS: dict[str, Task] = {
    "shape": Task(words.SHAPES, lambda scene: scene.things[0].shape),
    "colour": Task(tuple(words.COLOURS), lambda scene: scene.things[0].colour),
    "size": Task(tuple(words.SIZES), lambda scene: scene.things[0].size),
    "background": Task(tuple(words.BACKGROUNDS), lambda scene: scene.background),
}


@dataclass(frozen=True)
class Settings:
    """What probes are trained and measured on."""

    limit: int = 600  # pictures measured, held in and held out
    train: int = 2000  # pictures that probes are trained on
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("limit", 2), ("train", 3), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected {least} or more, got {getattr(self, name)}")


def scenes_of(stream: str, count: int, seed: int = 0) -> list[Scene]:
    """Return scenes of one thing; a longer list begins with a shorter one.

    "training" and "held_in" show no held-out combination, "held_out" show one.
    """
    place = _STREAMS.index(stream)
    rngs = (np.random.default_rng([_SEED, seed, place, index]) for index in range(count))
    return [(_held_out if stream == "held_out" else sample_single)(rng) for rng in rngs]


@torch.no_grad()
def features(encoder: Encoder, scenes: Sequence[Scene]) -> Tensor:
    """Return the mean of an encoder's raw latents over the tokens, [n C], float64, for renders of scenes."""
    size, parts = encoder.config.image_size, []
    for start in range(0, len(scenes), _BATCH):
        pictures = np.stack([render(scene, max(_SIDE, size)) for scene in scenes[start : start + _BATCH]])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        parts.append(encoder.encode(resize_pixels(pixels, size)).double().mean(1))
    return torch.cat(parts)


def probed(encoder: Encoder, settings: Settings) -> dict[str, np.ndarray]:
    """Return whether a probe of each task is right about each picture, bool, by "split task"."""
    counts = {"training": settings.train, "held_in": settings.limit, "held_out": settings.limit}
    scenes = {stream: scenes_of(stream, count, settings.seed) for stream, count in counts.items()}
    seen = {stream: features(encoder, each) for stream, each in scenes.items()}
    probes = {
        name: fit_ridge(seen["training"], labels(task, scenes["training"]), len(task.classes))
        for name, task in TASKS.items()
    }
    return {
        f"{split} {name}": (probes[name].classes(seen[split]) == labels(task, scenes[split])).numpy()
        for split in ("held_in", "held_out")
        for name, task in TASKS.items()
    }


def labels(task: Task, scenes: Sequence[Scene]) -> Tensor:
    """Return what is right for each scene, [n] numbers of the task's classes."""
    return torch.tensor([task.classes.index(task.of(scene)) for scene in scenes])


def open_encoder(name: str, weights: Weights) -> Encoder:
    """Return the encoder of a model, or of a run that trained one, in evaluation mode.

    Raises:
        FileNotFoundError: no such folder, or a run without a checkpoint.
        ValueError: a name that is none, a run of a stage without an encoder, or weights that do not fit.
    """
    path = Path(name)
    recipe = path / "config.yaml"
    if (path / "config.json").is_file() or not recipe.is_file():
        from unimm import UniMM

        return UniMM.from_pretrained(name).encoder.eval()
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    if values.get("encoder") is None:  # a decoder's run may have none of its own
        raise ValueError(f"{recipe}: expected the sizes of an encoder, as its stage writes, found none")
    encoder = build_encoder(build(EncoderConfig, values["encoder"], "encoder"))
    load_strictly(encoder, weights(path, "encoder"), name)
    return encoder.eval()


def fresh(config: EncoderConfig, seed: int) -> Encoder:
    """Return an encoder of random weights, in evaluation mode."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build_encoder(config).eval()


@quiet()
def main(arguments: Sequence[str], weights: Weights) -> None:
    """Probe two encoders and print the card.

    Args:
        arguments: of the command line.
        weights: what reads a training run.

    Raises:
        ValueError: an option out of its range, or a name that is no model and no run.
        FileNotFoundError: no such folder, or none for --json.
    """
    options = _parser().parse_args(list(arguments))
    settings = Settings(options.limit, options.train, options.seed)
    if options.json is not None and not options.json.parent.is_dir():
        raise FileNotFoundError(f"--json: there is no folder {str(options.json.parent)!r}; make it first")
    if options.after == RANDOM:
        raise ValueError(f"AFTER: expected an encoder whose sizes {RANDOM!r} takes, got {RANDOM!r} itself")
    after = open_encoder(options.after, weights)
    if options.before == RANDOM:
        before = fresh(after.config, settings.seed)
    else:
        before = open_encoder(options.before, weights)
    one, two = (probed(encoder, settings) for encoder in (before, after))
    card: Card = {title: paired_row(one[title], two[title]) for title in one}
    show(card, f"Linear probes right, %: {options.before} and {options.after}")
    if options.json is not None:
        facts = {"before": options.before, "after": options.after, "settings": vars(settings)}
        write_whole(options.json, json.dumps({**facts, "card": as_json(card)}, indent=1) + "\n")


def _held_out(rng: np.random.Generator) -> Scene:
    while True:
        scene = single(rng)
        if in_scene(scene):
            return scene


def _parser() -> argparse.ArgumentParser:
    parser, own = Parser(prog="unimm eval probe", description=__doc__.partition("\n")[0]), Settings()
    parser.add_argument("before", help="a run of the encoder stage, tiny, a model's folder, a hub id; random")
    parser.add_argument("after", help="the same, but for random: fresh weights in AFTER's sizes")
    parser.add_argument("--limit", type=int, default=own.limit, help="pictures, held in and held out (600)")
    parser.add_argument("--train", type=int, default=own.train, help="pictures to train probes on (2000)")
    parser.add_argument("--seed", type=int, default=own.seed, help="of scenes and of random weights (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the card here as well")
    return parser
