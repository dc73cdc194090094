"""Where pictures lie, as the official script of each benchmark wants them; written and read alike.

Each layout keeps every sample as a file of its own and, where the benchmark wants more (a grid, a file of
metadata), makes that from the samples. Names of folders and files are those of the official scripts:
GenEval (https://github.com/djghosh13/geneval), DPG-Bench (https://github.com/TencentQQGYLab/ELLA), WISE
(https://github.com/PKU-YuanGroup/WISE), GenEval 2 (https://github.com/facebookresearch/GenEval2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unimm.evaluation.bench.items import Item
from unimm.evaluation.tiles import Tile, grid_of, png, whole
from unimm.latents.pixels import load_image
from unimm.whole import PARTIAL, read_lines, write_whole

IMAGES = "images"
"""The folder of a run that an official script is given."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
"""Endings of files that are pictures; official scripts read .png alone."""
Place = tuple[int, int]
"""A prompt's index and a sample's number."""


@dataclass
class Found:
    """What a folder holds of what it should hold."""

    tiles: dict[Place, Tile] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    """Files or folders that are not there, and how many pictures each should hold."""
    extra: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """One way to lay pictures out."""

    name: str
    sample: Callable[[Item, int], str]
    """Where one sample's own file lies, in the run's folder."""
    finish: Callable[[Path, Item, int], None]
    """`finish(run, item, samples)` makes what the samples of a prompt are made into, once all are there."""
    close: Callable[[Path, Path, Sequence[Item]], None]
    """`close(folder, images, items)` makes what lies in a folder beside the one with all pictures."""
    find: Callable[[Path, Sequence[Item], int], Found]
    """`find(images, items, samples)` looks through a folder of pictures, ours or another project's."""
    counts: frozenset[int] | None = None
    """How many samples per prompt it can hold; None is any number."""
    folder: str = IMAGES
    """The folder of a run in which `find` looks."""

    def check(self, samples: int) -> None:
        """Refuse a number of samples that this layout cannot hold."""
        if samples < 1 or (self.counts is not None and samples not in self.counts):
            expected = "1 or more" if self.counts is None else " or ".join(map(str, sorted(self.counts)))
            raise ValueError(f"--samples: the layout {self.name} holds {expected} per prompt, got {samples}")


def _nothing(*_: object) -> None:
    """Make nothing: the samples are all there is."""


# GenEval: <00000>/metadata.jsonl, <00000>/samples/00000.png, <00000>/grid.png.


def _geneval_sample(item: Item, sample: int) -> str:
    return f"{IMAGES}/{item.name}/samples/{sample:05d}.png"


def _geneval_finish(run: Path, item: Item, samples: int) -> None:
    folder = run / IMAGES / item.name
    line = json.dumps(dict(item.facts))
    path = folder / "metadata.jsonl"
    if not path.is_file() or path.read_text(encoding="utf-8") != line:
        write_whole(path, line)
    _compose(folder / "grid.png", [run / _geneval_sample(item, sample) for sample in range(samples)])


def _geneval_find(images: Path, items: Sequence[Item], samples: int) -> Found:
    found, wanted = Found(), {item.index for item in items}
    folders: dict[int, Path] = {}
    for path in _inside(images):
        if not (path.is_dir() and path.name.isdigit()):
            continue
        index = int(path.name)
        if index in folders:
            raise ValueError(
                f"{images}: expected one folder per prompt, got {folders[index].name} and {path.name}, which "
                f"are both number {index}; were two runs joined?"
            )
        folders[index] = path
    found.extra = [f"{path.name}/" for index, path in sorted(folders.items()) if index not in wanted]
    for item in items:
        folder = folders.get(item.index)
        if folder is None:
            found.missing[f"{item.name}/"] = samples
            continue
        _check_metadata(folder, item)
        _numbered(found, folder / "samples", item, samples)
    return found


def _check_metadata(folder: Path, item: Item) -> None:
    """Refuse pictures of another prompt under this one's number."""
    path = folder / "metadata.jsonl"
    lines = read_lines(path)
    if len(lines) != 1 or lines[0].get("prompt") is None:
        raise ValueError(f"{path}: expected one line with the prompt, got {len(lines)}")
    # A project that drew rewritten prompts writes these here; what is judged must be the same.
    other = {
        key: lines[0].get(key)
        for key in item.facts
        if key != "prompt" and lines[0].get(key) != item.facts[key]
    }
    if other:
        key, got = next(iter(other.items()))
        raise ValueError(
            f"{path}: expected the metadata of prompt {item.index} ({item.prompt!r}), with {key} "
            f"{item.facts[key]}, got {got}; these pictures belong to other prompts"
        )


def _numbered(found: Found, folder: Path, item: Item, samples: int) -> None:
    """Take the files <digits>.png of a folder in their order; other pictures are none of the benchmark's."""
    there = [path for path in _inside(folder) if path.suffix.lower() in PICTURES]
    files = sorted(path for path in there if re.fullmatch(r"\d+\.png", path.name))
    files.sort(key=lambda path: int(path.stem))
    taken = files[:samples]
    found.tiles |= {(item.index, sample): Tile(path) for sample, path in enumerate(taken)}
    found.extra += [f"{folder.parent.name}/{folder.name}/{path.name}" for path in there if path not in taken]
    if len(taken) < samples:
        name = f"{folder.parent.name}/{folder.name}/ ({len(taken)} of {samples} <number>.png)"
        found.missing[name] = samples - len(taken)


# DPG-Bench: <item_id>.png, a grid of 2 x 2; our single samples lie beside the folder of grids.


def _grid_sample(item: Item, sample: int) -> str:
    return f"samples/{item.name}/{sample:05d}.png"


def _grid_finish(run: Path, item: Item, samples: int) -> None:
    (run / IMAGES).mkdir(exist_ok=True)
    _compose(
        run / IMAGES / f"{item.name}.png", [run / _grid_sample(item, sample) for sample in range(samples)]
    )


def _grid_find(images: Path, items: Sequence[Item], samples: int) -> Found:
    parts = 4 if samples > 1 else 1
    found = _by_name(images, items, samples)
    tiles = [(index, tile.path) for (index, _), tile in found.tiles.items()]
    found.tiles = {
        (index, sample): Tile(path, sample if parts > 1 else None, parts)
        for index, path in tiles
        for sample in range(samples)
    }
    return found


# WISE and GenEval 2: <name>.png.


def _flat_sample(item: Item, sample: int) -> str:
    return f"{IMAGES}/{item.name}.png"


def _by_name(images: Path, items: Sequence[Item], samples: int = 1) -> Found:
    found, names = Found(), {f"{item.name}.png": item for item in items}
    there = {path.name: path for path in _inside(images) if path.suffix.lower() in PICTURES}
    found.extra = sorted(there.keys() - names.keys())
    for name, item in names.items():
        if name in there:
            found.tiles[item.index, 0] = Tile(there[name])
        else:
            found.missing[name] = samples
    return found


def _paths_by_prompt(folder: Path, images: Path, items: Sequence[Item]) -> None:
    """Write the file that GenEval 2's script asks for: the path of the picture of every prompt."""
    table = {item.prompt: str((images / f"{item.name}.png").resolve()) for item in items}
    write_whole(folder / "image_filepath_data.json", json.dumps(table, indent=1))


# Candidates: every sample by itself, as many as are wanted, for any benchmark.


def _candidates_find(images: Path, items: Sequence[Item], samples: int) -> Found:
    found = Found()
    for item in items:
        _numbered(found, images / item.name, item, samples)
    return found


def _inside(folder: Path) -> list[Path]:
    """Return what lies in a folder, nothing half-written; nothing where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.endswith(PARTIAL))


def _compose(path: Path, parts: Sequence[Path]) -> None:
    """Make a grid of pictures unless it is there whole and younger than all of them."""
    youngest = max(part.stat().st_mtime_ns for part in parts)
    if path.is_file() and path.stat().st_mtime_ns >= youngest and whole(path):
        return
    made = parts[0].read_bytes() if len(parts) == 1 else png(grid_of([load_image(part) for part in parts]))
    write_whole(path, made)


GENEVAL = Layout("geneval", _geneval_sample, _geneval_finish, _nothing, _geneval_find)
DPG = Layout("dpg", _grid_sample, _grid_finish, _nothing, _grid_find, counts=frozenset({1, 4}))
WISE = Layout("wise", _flat_sample, _nothing, _nothing, _by_name, counts=frozenset({1}))
GENEVAL2 = Layout("geneval2", _flat_sample, _nothing, _paths_by_prompt, _by_name, counts=frozenset({1}))
CANDIDATES = Layout("candidates", _grid_sample, _nothing, _nothing, _candidates_find, folder="samples")

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (GENEVAL, DPG, WISE, GENEVAL2, CANDIDATES)}
