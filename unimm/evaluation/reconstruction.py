"""What encoding and decoding lose, before training and after it: PSNR, SSIM and perceptual@tiny, paired.

Pictures are renders of scenes that show a combination which no training stream ever shows
(`unimm.world.held_out`). A side is a model (a picture becomes what it would draw, and is decoded) or the
folder of a VAE.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from unimm.evaluation.bootstrap import Leaf, intervals, paired_intervals
from unimm.evaluation.metrics.features import Distance, in_batches
from unimm.evaluation.metrics.tables import compare_pairs, passed_on
from unimm.evaluation.world.command import Parser
from unimm.latents.encoders.maps import block_maps
from unimm.latents.pixels import to_images
from unimm.latents.vae_folder import WEIGHTS, load_vae
from unimm.loaded import quiet
from unimm.perceptual import FeatureDistance
from unimm.whole import write_whole
from unimm.world.held_out import in_scene
from unimm.world.render import render
from unimm.world.scene import Scene, sample_scene

if TYPE_CHECKING:
    from unimm.latents.vae import VAE

_SEED = 7_300_000  # of the scenes; no training stream and no other benchmark uses it
_SHOWN = 16  # pictures on the sheet
_LEAST = 2  # pictures, so that there is an interval


@dataclass(frozen=True)
class Codec:
    """Pictures in, pictures out."""

    name: str
    pass_on: Callable[[np.ndarray], np.ndarray]
    """uint8 [B Hp Wp 3] to the same shape."""
    size: int | None
    """Pixels per side of the pictures it makes; None: those of the pictures it is given."""


def held_out_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Return scenes that show a held-out combination; a longer list begins with a shorter one."""
    found: list[Scene] = []
    index = 0
    while len(found) < count:
        scene = sample_scene(np.random.default_rng([_SEED, seed, index]))
        index += 1
        if in_scene(scene):
            found.append(scene)
    return found


def open_codec(name: str) -> Codec:
    """Return a model, or the VAE in a folder that diffusers' layout tells.

    Raises:
        ValueError, FileNotFoundError: it is neither.
    """
    if (Path(name) / WEIGHTS).is_file():
        return Codec(name, partial(_through_vae, load_vae(name).eval()), None)
    from unimm import UniMM

    model = UniMM.from_pretrained(name).eval()
    return Codec(name, partial(passed_on, model), model.config.settings.image_size)


@torch.no_grad()
def _through_vae(vae: VAE, pictures: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return np.stack([np.asarray(image) for image in to_images(vae.decode(vae.encode(pixels)))])


def tiny_distance() -> Distance:
    """Return the distance as the built-in encoder's blocks see it, "perceptual@tiny"."""
    from unimm import UniMM

    encoder = UniMM.from_pretrained("tiny").encoder.eval()
    return Distance("tiny", FeatureDistance(partial(block_maps, encoder)), sort="perceptual")


def compared(before: Codec, after: Codec, pictures: np.ndarray) -> dict[str, dict[str, Leaf]]:
    """Return before, after and change (after - before, paired) of every metric, with 95 % intervals.

    PSNR and SSIM are better when they rise, perceptual@tiny when it falls. Pictures are uint8 [n Hp Wp 3].
    """
    distance = [tiny_distance()]
    shown = [in_batches(each.pass_on, pictures) for each in (before, after)]
    sides = [compare_pairs(pictures, each, distance) for each in shown]
    one, two, change = *map(intervals, sides), paired_intervals(*sides)
    return {name: {"before": one[name], "after": two[name], "change": change[name]} for name in change}


def sheet(pictures: np.ndarray, sides: Sequence[np.ndarray]) -> Image.Image:
    """Return rows of pictures and of what each side made of them, enlarged twice."""
    rows = [np.concatenate(list(row), axis=1) for row in (pictures, *sides)]
    whole = Image.fromarray(np.concatenate(rows, axis=0))
    return whole.resize((2 * whole.width, 2 * whole.height), Image.Resampling.NEAREST)


@quiet()
def main(arguments: Sequence[str]) -> None:
    """Compare two codecs and print the card.

    Raises:
        ValueError: an option out of its range, or a name that is no model and no VAE.
        FileNotFoundError: no such folder.
    """
    options = _parser().parse_args(list(arguments))
    if options.pictures < _LEAST:
        raise ValueError(f"--pictures: expected {_LEAST} or more, got {options.pictures}")
    for path in filter(None, (options.json, options.sheet)):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {str(path.parent)!r}; make it first")
    before, after = (open_codec(name) for name in (options.before, options.after))
    size = _one_size(before, after, options.size)
    pictures = np.stack([render(scene, size) for scene in held_out_scenes(options.pictures, options.seed)])
    card = compared(before, after, pictures)
    show(card, options.before, options.after, size)
    if options.json is not None:
        facts = {"before": options.before, "after": options.after, "pictures": options.pictures}
        facts |= {"size": size, "seed": options.seed}
        write_whole(options.json, json.dumps({**facts, "card": as_json(card)}, indent=1) + "\n")
    if options.sheet is not None:
        first = pictures[:_SHOWN]
        sheet(first, [each.pass_on(first) for each in (before, after)]).save(options.sheet)


def _one_size(before: Codec, after: Codec, asked: int | None) -> int:
    """Return the size of the pictures, on which both sides must agree."""
    named = {f"{side.name}": side.size for side in (before, after) if side.size is not None}
    sizes = {*named.values(), *([] if asked is None else [asked])}
    if len(sizes) != 1:
        told = ", ".join(f"{name} makes {size}" for name, size in named.items()) or "both take any"
        raise ValueError(f"--size: expected one size of pictures for both sides, got {asked}; {told}")
    return sizes.pop()


def as_json(card: dict[str, dict[str, Leaf]]) -> dict[str, Any]:
    """Return the card with {"mean", "low", "high", "n"} at every leaf."""
    return {title: {name: leaf.to_dict() for name, leaf in row.items()} for title, row in card.items()}


def show(card: dict[str, dict[str, Leaf]], before: str, after: str, size: int) -> None:
    """Print the card; 95 % intervals in brackets."""
    table = Table("", "n", "before", "after", "after - before", title_justify="left")
    table.title = f"Held-out renders of {size} pixels: {before} and {after}"
    for title, row in card.items():
        cells = (f"{leaf.mean:.4g} [{leaf.low:.4g}, {leaf.high:.4g}]" for leaf in row.values())
        better = "lower is better" if title.startswith("perceptual") else "higher is better"
        table.add_row(f"{title} ({better})", str(row["change"].n), *cells)
    Console(width=None if Console().is_terminal else 140).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="unimm eval reconstruction", description=__doc__.partition("\n")[0])
    parser.add_argument("--before", default="tiny", help="tiny, a folder of a model or a VAE, a hub id")
    parser.add_argument("--after", required=True, help="the same")
    parser.add_argument("--pictures", type=int, default=400, help="held-out renders (400)")
    parser.add_argument("--size", type=int, help="pixels per side, where both sides take any (VAEs)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the card here as well")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write pictures, before and after, as PNG")
    return parser
