"""From a name to a model and back: loading that accepts no gap, saving that leaves no half."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from unimm.model.config import UniMMConfig
from unimm.tables import suggestion

ASSETS = Path(__file__).resolve().parents[1] / "assets"
BUILT_IN = ("tiny",)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
LISTED = 12  # names spelled out per kind of mistake; the rest is counted


def find_folder(name: str | os.PathLike[str], **hub: Any) -> Path:
    """Return the folder of a built-in model, of a folder's path, or of a hub id (downloaded once).

    Raises:
        FileNotFoundError: a path without a folder, or a hub id that cannot be had.
        ValueError: a name that is none of the three, with a suggestion.
    """
    text = os.fspath(name)
    if text in BUILT_IN:
        if not (ASSETS / text / "config.json").is_file():
            raise FileNotFoundError(
                f"{text}: the built-in weights are not in this installation ({ASSETS / text})"
            )
        return ASSETS / text
    if Path(text).is_dir():
        return Path(text)
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        return _download(text, hub)
    if os.sep in text or text.startswith("."):
        raise FileNotFoundError(f"model: expected a folder at {text}, found none")
    raise ValueError(
        f"model: expected {' or '.join(map(repr, BUILT_IN))}, a folder, or a hub id owner/name, "
        f"got {text!r}{suggestion(text, BUILT_IN)}"
    )


def read_config(folder: Path) -> UniMMConfig:
    """Return the configuration saved in a folder.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: it is not the configuration of a unimm model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"model: expected config.json in {folder}, found none")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, could not read it ({error})") from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != UniMMConfig.model_type:
        raise ValueError(f"{path}: expected model_type {UniMMConfig.model_type!r}, got {kind!r}")
    try:
        return UniMMConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_weights(folder: Path, wanted: Mapping[str, torch.Size], optional: set[str]) -> None:
    """Compare the names and shapes in a folder with those of the model, before anything is loaded.

    Args:
        folder: a folder with safetensors.
        wanted: shape of every tensor of the model.
        optional: names that may be missing, because they are tied to others.

    Raises:
        ValueError: one error that lists every missing, unexpected and misshapen tensor.
    """
    found = stored_shapes(folder)
    missing = sorted(wanted.keys() - found.keys() - optional)
    unexpected = sorted(found.keys() - wanted.keys())
    shared = sorted(found.keys() & wanted.keys())
    misshapen = [
        f"{name} (expected {list(wanted[name])}, got {found[name]})"
        for name in shared
        if found[name] != list(wanted[name])
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    faults = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    if faults:
        raise ValueError(f"{folder}: the weights do not fit the configuration; {'; '.join(faults)}")


def stored_shapes(folder: Path) -> dict[str, list[int]]:
    """Return name and shape of every tensor stored in a folder; only headers are read."""
    shapes: dict[str, list[int]] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                shapes |= {name: list(file.get_slice(name).get_shape()) for name in names}
        except (SafetensorError, struct.error) as error:
            raise ValueError(f"{path}: damaged or cut short ({error})") from None
    return shapes


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ValueError(f"{index}: expected a JSON index with a weight_map") from None
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"model: expected weights at {path}, found none")
    return files


def _download(name: str, hub: Mapping[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, **hub))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(
            f"model: there is no folder {name}, and the hub has no such model or cannot be reached ({reason})"
        ) from None


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
