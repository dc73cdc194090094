"""Two folders of pictures compared: as sets, in pairs of one name, and with their texts.

Sets: Fréchet distance, kernel distance, precision and recall (3 neighbours) on a network's features, and the
Inception score where the network has classes. Pairs, such as pictures and their reconstructions: PSNR, both
kinds of SSIM, LPIPS. Texts: CLIP and SigLIP scores. What each is called tells the network; "fid",
"inception_score" and "lpips_..." are kept for the published weights (`metrics.published`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unimm.evaluation.bench.layouts import PICTURES
from unimm.evaluation.bootstrap import Leaf, intervals
from unimm.evaluation.card import aligned
from unimm.evaluation.metrics.features import AT_ONCE, Backbone, Distance
from unimm.evaluation.metrics.networks import fits, images_of
from unimm.evaluation.metrics.tables import compare_pairs, generation_statistics
from unimm.evaluation.run import now, software
from unimm.evaluation.scored import Scored
from unimm.evaluation.scorers.records import some
from unimm.evaluation.store import stage
from unimm.latents.pixels import load_image
from unimm.whole import read_json, write_whole

FORMAT = 1
Passed = Callable[[np.ndarray], np.ndarray]
"""uint8 [B Hp Wp 3] to what a model makes of it."""


@dataclass(frozen=True)
class PictureSet:
    """The pictures in a folder and those below, in the order of their paths."""

    folder: Path
    names: tuple[str, ...]
    """Paths in the folder."""
    size: int | None = None
    """Pixels of a side that all are cropped and scaled to; None leaves them as they are."""
    passed: Passed | None = None
    """What is made of them before they are measured."""

    def __len__(self) -> int:
        return len(self.names)

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the pictures, uint8 [b Hp Wp 3], a few at a time.

        Raises:
            ValueError: a picture that cannot be read, or is of another size than the first.
        """
        first: tuple[int, int] | None = None
        for start in range(0, len(self.names), AT_ONCE):
            read = []
            for name in self.names[start : start + AT_ONCE]:
                image = load_image(self.folder / name)
                image = image if self.size is None else squared(image, self.size)
                first = first or image.size
                if image.size != first:
                    raise ValueError(
                        f"{self.folder / name}: expected {first[0]} x {first[1]} pixels as {self.names[0]}, "
                        f"got {image.width} x {image.height}; --size crops and scales all"
                    )
                read.append(np.asarray(image))
            pictures = np.stack(read)
            yield pictures if self.passed is None else self.passed(pictures)

    def digest(self) -> str:
        """Return the sha256 of all names and bytes."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(
                f"{name} {hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}\n".encode()
            )
        return digest.hexdigest()


def find_set(folder: Path, size: int | None = None) -> PictureSet:
    """Return the pictures of a folder; in GenEval's layout the samples, not the grids made of them.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of pictures at {folder}")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    names = tuple(sorted(path.relative_to(folder).as_posix() for path in paths if not _is_grid(path)))
    if not names:
        raise ValueError(f"{folder}: expected pictures ({', '.join(sorted(PICTURES))}), found none")
    return PictureSet(folder, names, size)


def _is_grid(path: Path) -> bool:
    return path.name == "grid.png" and (path.parent / "samples").is_dir()


def squared(image: Image.Image, size: int) -> Image.Image:
    """Return the middle square of a picture whose shorter side was scaled to `size`, bicubic, antialiased."""
    scale = size / min(image.size)
    width, height = (max(size, round(edge * scale)) for edge in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def set_statistics(real: PictureSet, drawn: PictureSet, backbone: Backbone) -> dict[str, float]:
    """Return how two sets compare, by the names of the metrics."""
    ours, _ = _features(real, backbone, False)
    theirs, logits = _features(drawn, backbone, backbone.logits is not None)
    return generation_statistics(ours, theirs, backbone.key, logits)


def _features(
    pictures: PictureSet, backbone: Backbone, classes: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    features, logits = [], []
    with stage(f"looking at {pictures.folder.name}", len(pictures)) as advance:
        for piece in pictures.pieces():
            features.append(backbone.features(piece))
            logits += [backbone.logits(piece)] if classes and backbone.logits is not None else []
            advance(len(piece))
    return np.concatenate(features), np.concatenate(logits) if logits else None


def pair_statistics(true: PictureSet, got: PictureSet, distances: Sequence[Distance] = ()) -> dict[str, Leaf]:
    """Return what the second set lost of each picture of the first, with 95 % intervals over pictures.

    Raises:
        ValueError: a picture without its fellow, or of another size.
    """
    stems = [[name.rpartition(".")[0] for name in each.names] for each in (true, got)]
    lonely = sorted(set(stems[0]) ^ set(stems[1]))
    if lonely or stems[0] != stems[1]:
        raise ValueError(
            f"pairs: expected pictures of the same names in {true.folder} and {got.folder}, got without "
            f"fellow {some(lonely)}"
        )
    parts = [compare_pairs(*pair, distances) for pair in zip(true.pieces(), got.pieces(), strict=True)]
    groups = [f"{number}/{group}" for number, part in enumerate(parts) for group in part.groups]
    tasks = [task for part in parts for task in part.tasks]
    return intervals(Scored(np.concatenate([part.values for part in parts]), tuple(tasks), tuple(groups)))


def text_statistics(pictures: PictureSet, texts: Mapping[str, str], embedder: Any) -> dict[str, Leaf]:
    """Return how well pictures fit their texts, with 95 % intervals over pictures.

    Args:
        pictures: which.
        texts: by the picture's path in its folder, without its ending.
        embedder: a CLIP or SigLIP.

    Raises:
        ValueError: a picture without text.
    """
    names = [name.rpartition(".")[0] for name in pictures.names]
    silent = [name for name in names if name not in texts]
    if silent:
        raise ValueError(f"--texts: expected a text for every picture, got none for {some(silent)}")
    found: dict[str, list[np.ndarray]] = {}
    start = 0
    for piece in pictures.pieces():
        said = [texts[name] for name in names[start : start + len(piece)]]
        start += len(piece)
        for name, values in fits(embedder, images_of(piece), said).items():
            found.setdefault(name, []).append(values)
    tasks = tuple(name for name in found for _ in names)
    values = np.concatenate([np.concatenate(parts) for parts in found.values()])
    return intervals(Scored(values.astype(np.float64), tasks, tuple(names) * len(found)))


def read_texts(path: Path) -> dict[str, str]:
    """Return texts by the names of pictures, from one JSON object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another form.
    """
    texts = read_json(path)
    wrong = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise ValueError(f"{path}: expected a text for each name, got another value for {some(wrong)}")
    return {name.removesuffix(".png"): text for name, text in texts.items()}


def make_card(
    real: PictureSet,
    drawn: PictureSet | None,
    sets: Mapping[str, float],
    leaves: Mapping[str, Leaf],
    through: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that was measured, plain values only."""
    sides = {"real": real} if drawn is None else {"real": real, "drawn": drawn}
    scaled = None if real.size is None else f"shorter side to {real.size}, bicubic, then the middle square"
    return {
        "format": FORMAT,
        "sets": dict(sets),
        "pictures": {name: leaf.to_dict() for name, leaf in leaves.items()},
        "of": {
            name: {"folder": str(each.folder.resolve()), "n": len(each), "sha256": each.digest()}
            for name, each in sides.items()
        },
        "resized": scaled,
        "through": None if through is None else dict(through),
        "software": software(),
        "date": now(),
    }


def markdown(card: Mapping[str, Any]) -> str:
    """Return the numbers as a table for terminals, then of what they are."""
    rows = [("", "number", "95 %")]
    rows += [(name, f"{round(value, 4) + 0.0:.4f}", "") for name, value in card["sets"].items()]
    rows += [
        (name, f"{leaf['mean']:.4f}", f"[{leaf['low']:.4f}, {leaf['high']:.4f}]")
        for name, leaf in card["pictures"].items()
    ]
    of = [f"{name} {side['n']} ({side['sha256'][:12]})" for name, side in card["of"].items()]
    lines = [f"n: {', '.join(of)}; resized: {card['resized'] or 'no'}"]
    if card["sets"]:
        lines.append("distances between sets fall as n grows: compare numbers of the same n alone")
    if card["through"]:
        lines.append(f"drawn are the real ones, passed on by {card['through']['name']}")
    return "\n".join([*aligned(rows, left=(0,)), "", *lines])


def write_card(path: Path, card: Mapping[str, Any]) -> Path:
    """Write the card as JSON."""
    return write_whole(path, json.dumps(card, indent=1, allow_nan=False) + "\n")
