"""Folders of pictures: ImageNet's, a folder for each class; and pictures with captions beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unimm.data.pictures import read_picture
from unimm.data.readers.fields import Roots, decoded, parsed
from unimm.data.readers.rows import RowSource
from unimm.data.readers.turning import TASKS, captioned, check_template
from unimm.data.samples import BrokenSample, Sample
from unimm.tables import expect_known
from unimm.text.chat import GENERATE_TEMPLATE

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TEMPLATE = GENERATE_TEMPLATE.replace("{prompt}", "{caption}")
"""These data sets have no project of their own that asks; ours does."""


class Listed:
    """Pictures by their place in a folder; one shard for each folder that holds some.

    Names are sorted as bytes, so that rows stand in one order on every machine.
    """

    random_access = True
    shards_at_once = None
    faults: tuple[str, ...] = ()

    def __init__(self, folder: Path):
        """List it.

        Raises:
            ValueError: no pictures in it.
        """
        self.folder = Path(folder)
        found: dict[str, list[str]] = {}
        for place, inside, names in os.walk(self.folder):
            inside.sort()
            pictures = sorted(name for name in names if name.lower().endswith(ENDINGS) and name[0] != ".")
            if pictures:
                found[os.path.relpath(place, self.folder)] = pictures
        if not found:
            raise ValueError(f"{folder}: expected pictures ({', '.join(ENDINGS)}), found none")
        self.names = dict(sorted(found.items()))
        self.shards = tuple(len(names) for names in self.names.values())

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The folders, relative, in the order of the shards."""
        return tuple(self.names)

    def key(self, shard: int, row: int) -> str:
        """Return what to call a row: its path in the folder."""
        place = self.places[shard]
        return os.path.normpath(os.path.join(place, self.names[place][row]))

    def row(self, shard: int, row: int) -> Mapping[str, Any]:
        """Return the path of a picture in the folder, and the folder it is in."""
        return {"image": self.key(shard, row), "place": self.places[shard]}


@dataclass(frozen=True)
class ClassRow:
    """Reads a picture whose folder is its class."""

    roots: Roots
    labels: Mapping[str, int]
    names: Mapping[str, str]
    task: str
    template: str

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        folder = Path(row["place"]).parts[0]
        picture = self.roots.find(row["image"], key)
        return captioned(
            key, picture, {"class": self.names[folder]}, self.task, self.template, self.labels[folder]
        )


@dataclass(frozen=True)
class CaptionRow:
    """Reads a picture and the `.txt` (or another ending) of the same name beside it."""

    roots: Roots
    ending: str
    task: str
    template: str

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        picture = self.roots.find(row["image"], key)
        beside = self.roots.find(str(Path(row["image"]).with_suffix(self.ending)), key)
        caption = decoded(read_picture(beside, key), f"caption {self.ending}", key)
        return captioned(key, picture, {"caption": caption}, self.task, self.template)


def open_imagenet(
    paths: Sequence[Path],
    cache: Path | None = None,
    names: Path | None = None,
    task: str = "draw",
    template: str = TEMPLATE,
) -> RowSource:
    """Open a folder with a folder of pictures for each class; labels count the sorted folders from 0.

    Args:
        paths: the folder.
        cache: not used: listing is quick.
        names: a file of class names: lines "n01440764 tench", or JSON `{folder: name}`; by default a class
            is called as its folder.
        task: one of `TASKS`.
        template: the request, with "{caption}" for the class.

    Raises:
        FileNotFoundError: no such file of names.
        ValueError: pictures that are in no class, or a class that the file does not name.
    """
    expect_known("task", task, TASKS)
    listed = Listed(paths[0])
    if "." in listed.names:
        raise ValueError(
            f"{paths[0]}: expected pictures in folders of classes, got {listed.names['.'][0]!r} beside"
        )
    folders = sorted({Path(place).parts[0] for place in listed.names})
    known = {folder: folder.replace("_", " ") for folder in folders} if names is None else _names(Path(names))
    if missing := [folder for folder in folders if folder not in known]:
        raise ValueError(
            f"{names}: expected a name for each class, got none for {len(missing)}, first {missing[0]}"
        )
    labels = {folder: number for number, folder in enumerate(folders)}
    read = ClassRow(Roots(paths[:1], None), labels, known, task, check_template(template))
    return RowSource(Path(paths[0]).name, listed, read)


def _names(path: Path) -> Mapping[str, str]:
    """Return class names by folder; of several, parted by commas, the first."""
    if not path.is_file():
        raise FileNotFoundError(f"names: no file at {path}")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            found = parsed(text, "names", str(path))
        except BrokenSample as broken:
            raise ValueError(str(broken)) from broken
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
            raise ValueError(f"{path}: expected an object of folders and class names")
    else:
        lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
        if wrong := [line for line in lines if len(line) < 2]:
            raise ValueError(f"{path}: expected 'folder name' in each line, got {wrong[0][0]!r}")
        found = dict(lines)
    return {folder: name.split(",")[0].strip() for folder, name in found.items()}


def open_captions(
    paths: Sequence[Path],
    cache: Path | None = None,
    ending: str = ".txt",
    task: str = "draw",
    template: str = TEMPLATE,
) -> RowSource:
    """Open a folder of pictures with a caption file of the same name beside each.

    Args:
        paths: the folder, searched to its depth.
        cache: not used: listing is quick.
        ending: of the captions' files.
        task: one of `TASKS`.
        template: the request, with "{caption}".

    Raises:
        ValueError: no pictures, another task, or a template without a place for the caption.
    """
    expect_known("task", task, TASKS)
    read = CaptionRow(Roots(paths[:1], None), "." + ending.lstrip("."), task, check_template(template))
    return RowSource(Path(paths[0]).name, Listed(paths[0]), read)
