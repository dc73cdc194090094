"""Rooms to begin from: encoder, statistics and decoder of a run that trained them, or of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from unimm.latents.encoders.tower import Encoder
from unimm.latents.pixels import resize_pixels
from unimm.model.loading import BUILT_IN, find_folder
from unimm.training import checkpoint
from unimm.weights.shards import stored_tensors


def trained(source: str | Path, name: str) -> dict[str, Tensor]:
    """Return one module's (averaged) weights.

    Args:
        source: a run's folder, whose newest checkpoint is taken; a model's folder; or "tiny".
        name: of the module, such as "encoder".

    Raises:
        FileNotFoundError: a run without a checkpoint, or a model without its files.
        ValueError: no such module there, or damaged files.
    """
    place = place_of(source)
    state = stored_tensors(place) if (place / "config.json").is_file() else _newest(place)
    prefix = name + "."
    chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not chosen:
        known = sorted({key.split(".")[0] for key in state})
        raise ValueError(f"{source}: expected a module {name!r}, found {', '.join(known)}")
    return chosen


def raw_latents(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Return raw latents [B N C] of pixels [B 3 Hp Wp] of any size, resized as the encoder's config says."""
    resizes = encoder.config.resize != "refuse"
    return encoder(pixels if resizes else resize_pixels(pixels, encoder.config.image_size))


def place_of(source: str | Path) -> Path:
    """Return the folder of a run or a model; what a built-in model's name stands for is that model's."""
    return find_folder(source) if source in BUILT_IN else Path(source)


def _newest(run: Path) -> Mapping[str, Tensor]:
    newest = checkpoint.latest(run)
    if newest is None:
        raise FileNotFoundError(
            f"run: expected a checkpoint in {run / 'checkpoints'} or a model's config.json in {run}, found "
            "none; train it first"
        )
    return checkpoint.averaged_state(newest)
