"""LLaVA's schema: LLaVA-1.5, ShareGPT4V, Cambrian, LLaVA-OneVision; and Scale-RAE's, which draws besides.

A row has `conversations` and maybe `image`, a path or a list of them. LLaVA-OneVision's parquet has the
picture's bytes there; Scale-RAE's tars have it beside the row's JSON (see also `conversations`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.data.pictures import ImageRef, Stored, read_picture
from unimm.data.readers.blip3o import picture_in
from unimm.data.readers.conversations import UNMARKED, said_in, turns_of
from unimm.data.readers.fields import Roots, field, listed, parsed, picture_of, shown
from unimm.data.readers.rows import Files, RowSource, called
from unimm.data.readers.tables import tables
from unimm.data.readers.tars import Tars
from unimm.data.samples import BrokenSample, Sample
from unimm.tables import expect_known, pick


@dataclass(frozen=True)
class LlavaRow:
    """Reads a row with `conversations` and pictures under `image`."""

    roots: Roots
    unmarked: str = "refuse"

    def __call__(self, row: Mapping[str, Any], key: str) -> Sample:
        if row.get("video"):
            raise BrokenSample(key, f"expected pictures, got a video {shown(row['video'])}")
        return talk(field(row, "conversations", key), self._images(row, key), self.unmarked, key)

    def _images(self, row: Mapping[str, Any], key: str) -> list[Stored]:
        found = row.get("image")
        if found is None or (isinstance(found, str) and not found):
            return []  # a row of words
        many = found if isinstance(found, list | tuple) else [found]
        return [picture_of(each, "image", key, self.roots) for each in many]


def talk(conversations: Any, images: Sequence[Stored], unmarked: str, key: str) -> Sample:
    """Return the sample of a conversation and its pictures."""
    said = said_in(conversations, "conversations", key)
    return Sample(turns_of(pick("unmarked", unmarked, UNMARKED)(said, len(images)), images, key), key)


@dataclass(frozen=True)
class TarRow:
    """Reads a row of Scale-RAE's tars: `<key>.json`, whose picture is beside it."""

    unmarked: str = "first"

    def __call__(self, fields: Mapping[str, ImageRef], key: str) -> Sample:
        if "json" not in fields:
            raise BrokenSample(key, f"expected a .json, got {', '.join(fields)}", "missing")
        row = parsed(read_picture(fields["json"], key), "json", key)
        conversations = field(row, "conversations", key)
        named, images = row.get("image_filename"), []
        if named is not None or len(fields) > 1:
            images = [picture_in(fields, key)]
        if images and named is not None and Path(images[0].name).name != named:
            raise BrokenSample(
                key, f"image_filename: expected {Path(images[0].name).name!r}, got {shown(named)}"
            )
        return talk(conversations, images, self.unmarked, key)


def open_llava(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    unmarked: str = "refuse",
) -> RowSource:
    """Open JSON lists, JSON lines or parquet in LLaVA's schema.

    Args:
        paths: the files.
        cache: where indexes are kept.
        images: folders, or tars, that the rows' paths are in; by default the folder of the first file.
        unmarked: one of `UNMARKED`: pictures of a conversation without `<image>`.

    Raises:
        ValueError: a file of another kind, or another rule.
    """
    expect_known("unmarked", unmarked, UNMARKED)
    return RowSource(called(paths), tables(paths, cache), LlavaRow(roots(paths, images, cache), unmarked))


def open_scale_rae(
    paths: Files,
    cache: Path | None = None,
    images: Sequence[Path] | None = None,
    unmarked: str = "first",
) -> RowSource:
    """Open Scale-RAE's tars, or its JSON lines; the options are those of `open_llava`."""
    expect_known("unmarked", unmarked, UNMARKED)
    if not isinstance(paths, Sequence) or paths[0].suffix != ".tar":
        return RowSource(called(paths), tables(paths, cache), LlavaRow(roots(paths, images, cache), unmarked))
    return RowSource(called(paths), Tars(paths, cache), TarRow(unmarked))


def manifest_tars(path: Path) -> list[Path]:
    """Return the tars that a `wds_manifest.json` lists; relative ones stand beside it.

    Raises:
        ValueError: another schema.
        FileNotFoundError: a tar is not there.
    """
    try:
        manifest = parsed(path.read_bytes(), "manifest", str(path))
        listed_tars = listed(field(manifest, "tars", str(path)), "tars", str(path))
    except BrokenSample as broken:
        raise ValueError(str(broken)) from broken
    if not listed_tars or not all(isinstance(name, str) for name in listed_tars):
        raise ValueError(f"{path}: tars: expected a list of paths, got {shown(listed_tars)}")
    tars = [path.parent / name for name in listed_tars]
    missing = [str(tar) for tar in tars if not tar.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(tars)} tars are not there, first {missing[0]}"
        )
    return tars


def roots(files: Files, images: Sequence[Path] | None, cache: Path | None) -> Roots:
    """Return where pictures are looked for; without `images`, in the folder of the first file."""
    if images is None:
        images = [files[0].parent] if isinstance(files, Sequence) else []
    return Roots(images, cache)
