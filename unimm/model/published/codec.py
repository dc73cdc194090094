"""The parts between latents and pixels, from published files: a vision tower, and a decoder or a VAE."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unimm.config import to_dict
from unimm.files import read_tensors
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.latents.encoders.published import PICKLED, encoder_kind, read_encoder_config
from unimm.latents.vae import FluxVAEConfig
from unimm.latents.vae_folder import WEIGHTS as VAE_WEIGHTS
from unimm.latents.vae_folder import present_names, vae_sizes
from unimm.model.published.tables import kept_tables
from unimm.shapes import sincos_table
from unimm.weights.encoders import read_encoder
from unimm.weights.rae import decoder_part, whole_decoder
from unimm.weights.scale_rae import DECODER
from unimm.weights.scale_rae_config import refuse_contradictions
from unimm.weights.scale_rae_decoder import WEIGHTS, pixel_decoder_sizes
from unimm.weights.shards import stored_tensors
from unimm.whole import read_json

TOWERS = {"siglip2": ("vision_model.", ""), "webssl": ("dinov2.", "")}
"""Kinds of vision towers that published models have, and what may stand before the names of their tensors."""
PACKING = 2
"""Latent pixels per side in one token of the FLUX-VAE variant; no file tells it."""


@dataclass(frozen=True)
class Tower:
    """A vision tower: its sizes, and its tensors under our names."""

    config: EncoderConfig
    state: dict[str, Tensor]


@dataclass(frozen=True)
class DrawnCodec:
    """What makes pixels of drawn latents: a pixel decoder, or a space of its own."""

    state: dict[str, Tensor]
    """Its tensors under the model's names."""
    decoder: DecoderConfig | None = None
    drawn: dict[str, Any] | None = None
    """Kind and sizes of a space of its own, as in ModelSettings."""
    values: dict[str, Any] = field(default_factory=dict)
    """Its config.json."""
    tables: dict[str, str] = field(default_factory=dict)
    """Constants in its file, and their dtypes."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """Those of them that ours do not give back bit by bit."""


def open_tower(folder: Path) -> Tower:
    """Return the vision tower in a folder of transformers' layout.

    Raises:
        FileNotFoundError: no config or no weights.
        ValueError: another kind of tower, or tensors with a gap or a surplus, all listed.
    """
    kind = encoder_kind(folder)
    if kind not in TOWERS:
        raise ValueError(
            f"vision_tower: expected one of kind {' or '.join(TOWERS)}, got {kind!r} in {folder}"
        )
    safe = any(folder.glob("*.safetensors"))
    theirs = stored_tensors(folder) if safe else read_tensors(folder / PICKLED)
    prefix = next(p for p in TOWERS[kind] if any(name.startswith(p) for name in theirs))
    parameters = read_encoder(theirs, kind, prefix)
    return Tower(read_encoder_config(folder, kind), {f"encoder.{name}": x for name, x in parameters.items()})


def open_decoder(folder: Path, tower: EncoderConfig, channels: int, grid: int) -> DrawnCodec:
    """Return the pixel decoder in a folder: config.json and model.pt.

    Args:
        folder: where they are.
        tower: whose latents it is to show; its pixel means are the decoder's too.
        channels: of the latents.
        grid: of the latents, tokens per side.

    Raises:
        FileNotFoundError: one of the files is not there.
        ValueError: a file that cannot be read safely, a config that contradicts the tensors, tensors with a
            gap or a surplus, or a decoder of other latents.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"decoder: expected {WEIGHTS} in {folder}, found none")
    values, name = read_json(folder / "config.json"), str(folder / "config.json")
    theirs = decoder_part(read_tensors(path))
    sizes, contradictions = pixel_decoder_sizes(values, theirs, name)
    refuse_contradictions(contradictions, name)
    if (sizes["channels"], sizes["grid"]) != (channels, grid):
        raise ValueError(
            f"decoder: expected one for latents of {channels} channels on a grid of {grid}, as the model "
            f"draws them, got one for {sizes['channels']} channels on a grid of {sizes['grid']} in {folder}; "
            "each vision tower has a decoder of its own"
        )
    parameters, tables = DECODER.read(theirs)
    whole_decoder(parameters, tables)  # refuses positions that are no sine table
    computed = {"positions": sincos_table(sizes["grid"], sizes["width"])}
    config = DecoderConfig(**sizes, pixel_mean=tower.pixel_mean, pixel_std=tower.pixel_std)
    return DrawnCodec(
        {f"decoder.{key}": x for key, x in parameters.items()},
        decoder=config,
        values=values,
        **kept_tables(DECODER, computed, theirs),
    )


def open_vae(folder: Path, tower: EncoderConfig, channels: int, grid: int) -> DrawnCodec:
    """Return the VAE in a folder that diffusers saved, as a space of its own; arguments as `open_decoder`.

    Raises:
        FileNotFoundError: one of the files is not there.
        ValueError: another kind of model, or one of other latents.
    """
    if not (folder / VAE_WEIGHTS).is_file():
        raise FileNotFoundError(f"decoder: expected {VAE_WEIGHTS} in {folder}, found none")
    values = read_json(folder / "config.json")
    config = FluxVAEConfig(**vae_sizes(values), packing=PACKING)
    config = replace(config, image_size=grid * config.stride)
    if config.channels != channels:
        raise ValueError(
            f"decoder: expected a VAE of {channels} numbers per token, as the model draws them, got one of "
            f"{config.latent_channels} channels and so {config.channels} per token in {folder}"
        )
    state = present_names(read_tensors(folder / VAE_WEIGHTS))
    drawn = {"kind": "flux_vae", **to_dict(config)}
    return DrawnCodec({f"drawn.tower.{key}": x for key, x in state.items()}, drawn=drawn, values=values)
