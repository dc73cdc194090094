"""Where the parts of a published model are: in its folder, named by its config, or given by the caller."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.model.loading import HUB_ID, download
from unimm.weights.scale_rae_config import MODEL_TYPE
from unimm.weights.scale_rae_decoder import WEIGHTS

PARTS = ("vision_tower", "decoder", "tokenizer")
"""What may be given beside the folder of a published model, each as a folder or a hub id."""

DECODERS = {
    "google/siglip2-so400m-patch14-224": "nyu-visionx/siglip2_decoder",
    "facebook/webssl-dino300m-full2b-224": "nyu-visionx/webssl300m_decoder",
}
"""Published decoders by the vision tower whose latents they show."""

FILES = {
    "vision_tower": ["*.json", "*.safetensors", "pytorch_model.bin"],
    "decoder": ["config.json", WEIGHTS, "diffusion_pytorch_model.safetensors"],
    "tokenizer": ["*.json", "merges.txt"],
}
"""What is fetched of a part that is on the hub."""


@dataclass(frozen=True)
class Source:
    """Where one part comes from."""

    part: str
    """A name in PARTS."""
    given: str | os.PathLike[str] | None
    """What the caller said."""
    beside: Path
    """Where it is in a folder that holds everything."""
    named: str | None
    """The hub id (or path) that the config or the published pairs name."""
    why: str
    """Who names it; for messages."""


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a published Scale-RAE model, by its config.json."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False  # whoever reads it next says what is wrong with it
    return isinstance(values, dict) and values.get("model_type") == MODEL_TYPE


def sources(values: Mapping[str, Any], folder: str | Path, parts: Mapping[str, Any]) -> dict[str, Source]:
    """Return where each part of a published model comes from.

    Args:
        values: the model's config.json.
        folder: where that is.
        parts: what the caller gave, by the names in PARTS.
    """
    tower, drawn = tower_id(values), values.get("generation_alignment_tower")
    decoder, why = DECODERS.get(tower), f"the published decoder for {tower}"
    if drawn:
        decoder, why = None, f"generation_alignment_tower in config.json is {drawn!r}"
    named = {
        "vision_tower": (tower, "mm_vision_tower_aux_list in config.json"),
        "decoder": (decoder, why),
        "tokenizer": (str(folder), "the model's own folder"),
    }
    return {part: Source(part, parts.get(part), Path(folder) / part, *named[part]) for part in PARTS}


def find_part(source: Source, hub: Mapping[str, Any]) -> Path:
    """Return the folder of a part: the caller's, else the one beside the model, else the one named.

    Args:
        source: where it comes from.
        hub: options for what comes from the hub.

    Raises:
        FileNotFoundError: it cannot be had; says which part, who names it and which argument to give.
    """
    part = source.part
    if source.given is not None:
        given = os.fspath(source.given)
        return _folder_or_download(part, given, hub, _no_folder(part, given))
    if source.beside.is_dir():
        return source.beside
    if source.named is None:
        raise FileNotFoundError(
            f"{part}: expected one in {source.beside}, found none ({source.why}, and no hub id is known for "
            f"it); {_advice(part)}"
        )
    missing = (
        f"{part}: not in {source.beside}, and {source.named} ({source.why}) cannot be had; {_advice(part)}"
    )
    return _folder_or_download(part, source.named, hub, missing)


def find_beside(source: Source, files: Collection[str]) -> str:
    """Return in words where a part would come from, given the names of the files beside the model.

    Raises:
        FileNotFoundError: the caller's folder is not there, or does not hold the part.
    """
    if source.given is not None:
        return _find_given(source.part, os.fspath(source.given))
    beside = [f"{source.part}/{name}" for name in _TELLING[source.part]]
    names = (*beside, *(_TELLING["tokenizer"] if source.part == "tokenizer" else ()))
    found = next((name for name in names if name in files), None)
    if found is not None:
        return f"{source.part}: here ({found})"
    if source.part == "tokenizer" or source.named is None:
        return f"{source.part}: not here; {_advice(source.part)}"
    return f"{source.part}: {source.named} ({source.why}), or {source.part}= a folder"


def tower_id(values: Mapping[str, Any]) -> str | None:
    """Return the vision tower that a config names; the suffix of a resampled grid is no part of its name."""
    names = values.get("mm_vision_tower_aux_list") or values.get("mm_vision_tower")
    name = names[0] if isinstance(names, list) and names else names
    return re.sub(r"-interp\d+$", "", name) if isinstance(name, str) else None


_TELLING = {
    "vision_tower": ("config.json",),
    "decoder": ("config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json"),
}
"""Files of which one tells that a folder holds a part."""

_HINTS = {
    "vision_tower": "in the layout of transformers (config.json and safetensors)",
    "decoder": "with config.json and model.pt, or for a VAE one that diffusers saved",
    "tokenizer": "with tokenizer.json, or vocab.json and merges.txt",
}


def _advice(part: str) -> str:
    """Return in words how a part is given."""
    option = f"--{part.replace('_', '-')}"
    return f"give {part}= a folder {_HINTS[part]} (for `unimm convert`: {option} FOLDER)"


def _find_given(part: str, given: str) -> str:
    """Return in words where a part is that the caller gives; of the hub nothing is asked."""
    folder, names = Path(given), _TELLING[part]
    if folder.is_dir():
        inside = (*names, *(f"{part}/{name}" for name in names if part == "tokenizer"))
        found = next((name for name in inside if (folder / name).is_file()), None)
        if found is None:
            raise FileNotFoundError(f"{part}: expected {' or '.join(names)} in {folder}, found none")
        return f"{part}: given ({folder}, {found})"
    if not _is_hub_id(given):
        raise FileNotFoundError(_no_folder(part, given))
    return f"{part}: given ({given}, on the hub)"


def _no_folder(part: str, given: str) -> str:
    return f"{part}: expected a folder or a hub id; there is no folder {given}"


def _is_hub_id(name: str) -> bool:
    return bool(HUB_ID.fullmatch(name)) and not name.startswith(".")


def _folder_or_download(part: str, name: str, hub: Mapping[str, Any], missing: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if not _is_hub_id(name):
        raise FileNotFoundError(missing)
    return download(name, FILES[part], hub, missing)
