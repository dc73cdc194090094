"""Readers of formats that people have already: each brings rows to the normal form; nothing is converted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.data.readers import bagel, blip3o, edits, folders, llava, messages
from unimm.data.readers.blip3o import PICTURES
from unimm.data.readers.conversations import MARKER
from unimm.data.readers.look import Look
from unimm.data.readers.rows import Files
from unimm.data.readers.stream import HUB_OPTIONS, PREFIX, hub_rows
from unimm.data.samples import Source
from unimm.tables import expect_known, pick


@dataclass(frozen=True)
class Guess:
    """Which format something has, and why."""

    format: str
    why: str
    paths: tuple[Path, ...]
    """What its reader is to open."""
    left_out: tuple[str, ...] = ()
    """Files beside them that are of another format, or cannot be read."""


@dataclass(frozen=True)
class Reader:
    """One format.

    Args:
        about: what it is recognised by.
        open: `open(paths, cache=..., **options) -> Source`.
        row: whether a row of a table is of this format; None: it is not in tables.
        fields: whether the fields of a row of a tar are; None: it is not in tars.
        folder: whether a folder of pictures is; None: it is not one.
    """

    about: str
    open: Callable[..., Source]
    row: Callable[[Mapping[str, Any]], bool] | None = None
    fields: Callable[[Mapping[str, Any]], bool] | None = None
    folder: Callable[[Look], bool] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What `open` can be told."""
        return tuple(name for name in inspect.signature(self.open).parameters if name != "paths")


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda row: all(name in row for name in names)


def _draws(row: Mapping[str, Any]) -> bool:
    """Whether LLaVA's schema is used to draw: the reply holds the picture."""
    said = row.get("conversations")
    said = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
    return any(each.get("from") == "gpt" and MARKER in str(each.get("value")) for each in said)


def _captioned(look: Look) -> bool:
    names = set(look.files)
    return any(path.with_suffix(".txt") in names for path in look.pictures)


def _classes(look: Look) -> bool:
    inside = [path.parent != look.path for path in look.pictures]
    return bool(inside) and all(inside) and not _captioned(look)


_LLAVA = "rows with 'conversations' of 'from' and 'value', and maybe 'image'"
READERS: dict[str, Reader] = {
    "scale_rae": Reader(
        "wds_manifest.json, tars of <key>.json with 'conversations' and a picture, or LLaVA's rows whose "
        "reply holds <image>",
        llava.open_scale_rae,
        row=_draws,
        fields=lambda fields: isinstance(fields.get("json"), dict) and "conversations" in fields["json"],
    ),
    "blip3o": Reader(
        "tars of <key>.jpg and <key>.txt",
        blip3o.open_blip3o,
        fields=lambda fields: "txt" in fields and any(name in fields for name in PICTURES),
    ),
    "llava": Reader(_LLAVA, llava.open_llava, row=_has("conversations")),
    "sharegpt4v": Reader(_LLAVA, llava.open_llava, row=_has("conversations")),
    "cambrian": Reader(_LLAVA, llava.open_llava, row=_has("conversations")),
    "llava_onevision": Reader(_LLAVA, llava.open_llava, row=_has("conversations")),
    "bagel_t2i": Reader(
        "rows with 'image' and 'captions'", bagel.open_bagel_t2i, row=_has("image", "captions")
    ),
    "bagel_edit": Reader(
        "rows with 'image_list' and 'instruction_list'",
        bagel.open_bagel_edit,
        row=_has("image_list", "instruction_list"),
    ),
    "metaquery": Reader(
        "rows with 'source_images', 'target_image' and 'prompt'",
        edits.open_metaquery,
        row=_has("source_images", "target_image", "prompt"),
    ),
    "omniedit": Reader(
        "rows with 'src_img', 'edited_img' and 'edited_prompt_list'",
        edits.open_omniedit,
        row=_has("src_img", "edited_img", "edited_prompt_list"),
    ),
    "sharegpt4o": Reader(
        "rows with 'input_prompt' and 'output_image'",
        edits.open_sharegpt4o,
        row=_has("input_prompt", "output_image"),
    ),
    "messages": Reader("rows with 'messages'", messages.open_messages, row=_has("messages")),
    "captions": Reader("pictures with a .txt of the same name", folders.open_captions, folder=_captioned),
    "imagenet": Reader("a folder of pictures for each class", folders.open_imagenet, folder=_classes),
}
"""By name; who recognises something first, has it."""


def sniff(path: str | Path, split: str | None = None) -> Guess:
    """Return which format is at a path; only the beginnings of files are read.

    Args:
        path: a file or a folder.
        split: of files that are named by splits (train-00000.parquet), which.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no known format, and what was looked for; or several splits and none named.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"data: nothing at {path}")
    look = Look(path, split)
    if look.manifest is not None:
        return Guess(
            "scale_rae", f"{look.manifest.name} lists its tars", tuple(llava.manifest_tars(look.manifest))
        )
    guess = _of_tables(look) or _of_tars(look) or _of_folder(look)
    if guess is None:
        raise ValueError(_unknown(look))
    return guess


def _of_tables(look: Look) -> Guess | None:
    for name, reader in READERS.items():
        if reader.row is None:
            continue
        fit = [file for file, rows in look.tables.items() if any(reader.row(row) for row in rows)]
        if fit:
            rest = _names_beside(look, fit)
            keys = ", ".join(map(repr, look.tables[fit[0]][0]))
            return Guess(name, f"rows of {fit[0].name} have {keys}", tuple(fit), rest)
    return None


def _names_beside(look: Look, chosen: Collection[Path]) -> tuple[str, ...]:
    chosen = set(chosen)  # of thousands of shards
    return tuple(file.name for file in look.tables if file not in chosen)


def _of_tars(look: Look) -> Guess | None:
    first = next(iter(look.tars.values()), None)
    for name, reader in READERS.items():
        if first and reader.fields is not None and reader.fields(first):
            held = ", ".join(f"<key>.{each}" for each in first)
            return Guess(name, f"{next(iter(look.tars)).name} has {held}", tuple(look.tars))
    return None


def _of_folder(look: Look) -> Guess | None:
    for name, reader in READERS.items():
        if look.path.is_dir() and reader.folder is not None and reader.folder(look):
            return Guess(name, f"{reader.about}: {len(look.pictures)} pictures", (look.path,))
    return None


def _unknown(look: Look) -> str:
    wanted: dict[str, list[str]] = {}
    for name, reader in READERS.items():
        wanted.setdefault(reader.about, []).append(name)
    looked = "; ".join(f"{' / '.join(names)}: {about}" for about, names in wanted.items())
    errors = "".join(f"; {name} cannot be read: {why}" for name, why in look.errors.items())
    return (
        f"{look.path}: no known format. Found {look.summary()}{errors}. Looked for {looked}. "
        "If it is one of these, name it with format="
    )


def open_source(
    path: str | Path, format: str | None = None, split: str | None = None, **options: Any
) -> Source:
    """Open a data set.

    Args:
        path: a file, a folder, or "hf://owner/name" for a stream of the hub.
        format: one of READERS; None sniffs it.
        split: of files named by splits, or of a data set of the hub, which.
        options: of the format's reader; `cache`, a folder for indexes, and `images` are the most common.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no known format, or an option that the format does not have.
    """
    if format is not None:
        expect_known("format", format, READERS)
    if str(path).startswith(PREFIX):
        return _open_hub(str(path), format, split or "train", options)
    guess = paths_of(Path(path), format, split)
    return _open(guess.format, list(guess.paths), options)


def paths_of(path: Path, format: str | None, split: str | None) -> Guess:
    """Return what the reader of a format is to open; without a format, of the one that is sniffed.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no known format, or no files such as the format is in.
    """
    if format is None:
        return sniff(path, split)
    reader, look = pick("format", format, READERS), Look(path, split)
    if not path.exists():
        raise FileNotFoundError(f"data: nothing at {path}")
    told = "as told"
    if look.manifest is not None:
        return Guess(format, told, tuple(llava.manifest_tars(look.manifest)))
    if reader.folder is not None:
        return Guess(format, told, (path,))
    fit = [file for file, rows in look.tables.items() if reader.row and any(reader.row(row) for row in rows)]
    if not fit and reader.fields is not None and look.tars:
        return Guess(format, told, tuple(look.tars))
    fit = fit or (list(look.tables) if reader.row else [])
    if not fit:
        raise ValueError(f"{path}: expected {reader.about}, found {look.summary()}")
    return Guess(format, told, tuple(fit), _names_beside(look, fit))


def _open_hub(name: str, format: str | None, split: str, options: Mapping[str, Any]) -> Source:
    """Open a stream of the hub; `HUB_OPTIONS` are its own, the others the reader's."""
    own = {each: options[each] for each in HUB_OPTIONS if each in options}
    rows = hub_rows(name, split, **own)
    tables = {each: reader for each, reader in READERS.items() if reader.row}
    if format is None:
        first = rows.row(0, 0)
        format = next((each for each, reader in tables.items() if reader.row(first)), None)
    if format not in tables:
        known = "; ".join(f"{each}: {reader.about}" for each, reader in tables.items())
        raise ValueError(f"{name}: format: expected one that is in tables, got {format}; looked for {known}")
    return _open(format, rows, {each: value for each, value in options.items() if each not in own})


def _open(format: str, files: Files, options: Mapping[str, Any]) -> Source:
    for name in options:
        expect_known(f"option of {format}", name, READERS[format].options)
    return READERS[format].open(files, **_as_paths(options))


def _as_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with places turned to paths; `images` may be one place or several."""
    turned = dict(options)
    for name in ("cache", "names"):
        if turned.get(name) is not None:
            turned[name] = Path(turned[name])
    if turned.get("images") is not None:
        places = turned["images"]
        places = [places] if isinstance(places, str | Path) else places
        turned["images"] = [Path(place) for place in places]
    return turned
