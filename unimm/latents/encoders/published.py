"""Published encoders with their weights, from the hub or a folder in the layout of transformers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unimm.files import read_tensors
from unimm.latents.encoder import ENCODERS, encoder_class
from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.presets import COLOURS, PRESETS
from unimm.latents.encoders.tower import Encoder
from unimm.loaded import quiet, refuse_gaps
from unimm.whole import read_json

PICKLED = "pytorch_model.bin"
"""Weights of a folder without safetensors."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def load_encoder(
    source: str | Path,
    kind: str,
    *,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    **hub: Any,
) -> Encoder:
    """Return a published encoder with its weights, frozen and in evaluation mode.

    Args:
        source: a folder in transformers' layout, or the id of a hub model, which is downloaded once. Weights
            are safetensors; a folder that has none may hold a pickle of nothing but tensors.
        kind: as in the table ENCODERS.
        image_size: see `read_encoder_config`.
        dtype: of the weights.
        hub: `revision`, `cache_dir`, `token`, `local_files_only`.

    Raises:
        FileNotFoundError: no such folder or hub model, or no config or weights in it.
        ValueError: an unknown kind, a config of another kind of tower, or weights that are missing,
            unexpected or misshapen, all of them listed.
    """
    folder = _folder(source, hub)
    config = read_encoder_config(folder, kind, image_size=image_size)
    encoder = encoder_class(kind)(config, _load_tower(folder, config, dtype))
    return encoder.eval().requires_grad_(False)


def encoder_sizes(source: str | Path, kind: str, *, image_size: int | None = None) -> EncoderConfig:
    """Return the config of a published encoder without its weights.

    Args:
        source: a folder, or the id of a hub model: of a preset's nothing is fetched, of another its config.
        kind: as in the table ENCODERS.
        image_size: see `read_encoder_config`.

    Raises:
        FileNotFoundError: see `load_encoder`.
        ValueError: see `read_encoder_config`.
    """
    known = {preset.hub_id: preset.config for preset in PRESETS.values()}
    config = None if Path(source).is_dir() else known.get(str(source))
    if config is None:
        return read_encoder_config(_folder(source, {}, ["*.json"]), kind, image_size=image_size)
    if config.kind != kind:
        raise ValueError(f"{source}: expected kind {config.kind!r}, got {kind!r}")
    return config if image_size is None else replace(config, image_size=image_size)


def encoder_kind(folder: str | Path) -> str:
    """Return the kind, as in the table ENCODERS, of the tower in a folder, by its config.json.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: a tower of no kind that is known.
    """
    model_type = read_json(Path(folder) / "config.json", of="encoder").get("model_type")
    kinds = {name: kind for kind, published in ENCODERS.items() for name in published.model_types}
    if model_type not in kinds:
        raise ValueError(f"{folder}: expected model_type {' or '.join(kinds)}, got {model_type!r}")
    return kinds[model_type]


def read_encoder_config(folder: str | Path, kind: str, *, image_size: int | None = None) -> EncoderConfig:
    """Return the config of a published tower.

    Args:
        folder: with transformers' config.json. Pixel means are those of preprocessor_config.json where there
            is one, else those of the published encoders of this kind.
        kind: as in the table ENCODERS.
        image_size: pixels per side that enter the tower; None: as in the preset whose tower has these sizes,
            else the size that the position table was made for.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: an unknown kind, or a config of another kind of tower.
    """
    published, folder = encoder_class(kind), Path(folder)
    model_type = read_json(folder / "config.json", of="encoder").get("model_type")
    if model_type not in published.model_types:
        raise ValueError(
            f"{folder}: expected model_type {' or '.join(published.model_types)} for kind {kind!r}, "
            f"got {model_type!r}"
        )
    values = published.tower_class().config_class.from_pretrained(folder, local_files_only=True)
    if not isinstance(values.image_size, int) or not isinstance(values.patch_size, int):
        raise ValueError(
            f"{folder}: expected whole numbers for image_size and patch_size, got {values.image_size} and "
            f"{values.patch_size}"
        )
    config = EncoderConfig(
        image_size=values.image_size,
        patch_size=values.patch_size,
        width=values.hidden_size,
        depth=values.num_hidden_layers,
        heads=values.num_attention_heads,
        mlp_width=getattr(values, "intermediate_size", None) or int(values.hidden_size * values.mlp_ratio),
        kind=kind,
        native_size=values.image_size,
        registers=getattr(values, "num_register_tokens", 0),
        norm_eps=values.layer_norm_eps,
        **_colours(folder, kind),
    )
    _refuse_others(values, published.tower_config(config), folder)
    return _used(config, image_size)


def _used(config: EncoderConfig, image_size: int | None) -> EncoderConfig:
    """Return the config for the size of pixels that was asked for, else as the preset of such a tower."""
    fixed = (
        "kind",
        "patch_size",
        "width",
        "depth",
        "heads",
        "mlp_width",
        "registers",
        "norm_eps",
        "table_size",
    )
    for preset in (each.config for each in PRESETS.values()):
        if all(getattr(preset, name) == getattr(config, name) for name in fixed):
            size = preset.image_size if image_size is None else image_size
            return replace(config, image_size=size, resize=preset.resize)
    return replace(config, image_size=config.image_size if image_size is None else image_size)


def _refuse_others(values: Any, ours: Any, folder: Path) -> None:
    """Refuse a tower that differs in what EncoderConfig has no name for."""
    for name in ("num_channels", "hidden_act", "qkv_bias", "use_swiglu_ffn"):
        expected, got = getattr(ours, name, None), getattr(values, name, None)
        if got != expected:
            raise ValueError(f"{folder / 'config.json'}: expected {name} {expected!r}, got {got!r}")


def _colours(folder: Path, kind: str) -> dict[str, Any]:
    """Return pixel mean and std: those that stand in the folder, else those of the published encoders."""
    path = folder / "preprocessor_config.json"
    values = read_json(path, of="encoder") if path.is_file() else {}
    published = COLOURS[kind]
    named = {"pixel_mean": values.get("image_mean"), "pixel_std": values.get("image_std")}
    colours = {name: published[name] if x is None else tuple(map(float, x)) for name, x in named.items()}
    return {name: x[0] if isinstance(x, tuple) and len(set(x)) == 1 else x for name, x in colours.items()}


def _load_tower(folder: Path, config: EncoderConfig, dtype: torch.dtype) -> torch.nn.Module:
    """Return transformers' model with the weights of a folder; gaps and surpluses are refused."""
    published = encoder_class(config.kind)
    safe = any(folder.glob("*.safetensors"))
    try:
        state = None if safe else read_tensors(folder / PICKLED)
        with quiet():
            tower, found = published.tower_class().from_pretrained(
                folder if safe else None,
                state_dict=state,
                config=published.tower_config(config),
                dtype=dtype,
                local_files_only=True,
                use_safetensors=safe,
                ignore_mismatched_sizes=True,  # they are listed below
                output_loading_info=True,
            )
    except OSError as error:
        raise FileNotFoundError(f"{folder}: no weights that can be read: {error}") from error
    refuse_gaps(folder, found, published.unread)
    return tower


_FILES = ["*.json", "*.safetensors"]


def _folder(source: str | Path, hub: dict[str, Any], files: list[str] = _FILES) -> Path:
    """Return a folder as it is, or that of a hub model, after downloading its config and, unless others are
    named, its weights."""
    if Path(source).is_dir():
        return Path(source)
    if not _HUB_ID.fullmatch(str(source)):
        raise FileNotFoundError(f"encoder: expected a folder or a hub id owner/name, found no {source}")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(str(source), allow_patterns=files, **hub))
        if files == _FILES and not any(folder.glob("*.safetensors")):
            snapshot_download(str(source), allow_patterns=[PICKLED], **hub)
        return folder
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"encoder: hub model {source} cannot be had: {error}") from error
