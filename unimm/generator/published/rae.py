"""RAE's published systems as generators by class (Zheng et al. 2025, arXiv 2510.11690)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unimm.config import to_dict
from unimm.files import MAX_BYTES, read_tensors
from unimm.flow.densities import Density
from unimm.generator.by_class import ClassGenerator
from unimm.generator.published.opening import fill_body, naming, published_body, state_of, write_pickle
from unimm.generator.saving import fill, planned
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.published import encoder_kind, load_encoder, read_encoder_config
from unimm.latents.encoders.tower import Encoder
from unimm.latents.statistics import FORMS, published_statistics
from unimm.weights.autoencoder_rae import read_autoencoder_rae
from unimm.weights.ditdh import ditdh_map, ditdh_sizes
from unimm.weights.folder import DIFFUSERS_STEM, load_folder
from unimm.weights.lightningdit import lightningdit_map, lightningdit_sizes
from unimm.weights.rae import decoder_sizes, read_decoder, read_statistics, write_decoder, write_statistics

FLOW = FlowSettings(density=Density("truncated_logit_normal"))
SAMPLING = SamplingSettings(grid="rae", num_inference_steps=49)
"""Published "50 steps" are 50 times of its own grid. The best numbers are led away from a DiT^DH-S of 14
epochs (20 at 512 pixels): `generate(..., guide=smaller, guidance_scale=GUIDANCE[256])`."""
GUIDANCE = {256: 1.42, 512: 1.5}
"""Published scale of AutoGuidance by pixels per side."""

BODIES = {"ddt": (ditdh_map, ditdh_sizes), "lightning": (lightningdit_map, lightningdit_sizes)}
BODY_FILE, DECODER_FILE, STATISTICS_FILE = "stage2_model.pt", "model.pt", "stat.pt"


def load_rae(
    body: str | Path,
    decoder: str | Path,
    statistics: str | Path,
    encoder: str | Path | Encoder,
    *,
    choice: str = "ema",
    decoder_heads: int | None = None,
    max_bytes: int = MAX_BYTES,
    **known: Any,
) -> ClassGenerator:
    """Return the generator that RAE's own files make.

    Args:
        body: a DiT^DH or RAE's LightningDiT, which the tensors tell; `stage2_model.pt`.
        decoder: `model.pt`. Pixels are drawn in the encoder's colours.
        statistics: `stat.pt`; its mean may be None, as released for DINOv2-B.
        encoder: a folder in transformers' layout, or what `load_encoder` made of a hub model. Its pixels are
            as many as give the body's grid, and other pictures are resized to them, as published.
        choice: which state dict of a training checkpoint.
        decoder_heads: of a decoder whose width was not published.
        max_bytes: of each file; see `read_tensors`.
        known: sizes that the body's tensors do not tell; see `ditdh_sizes`.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: a file that cannot be read safely, missing or unexpected names, all listed, or parts of
            different latents.
    """
    kind, sizes, theirs = _body(body, choice, max_bytes, known)
    tower = _encoder(encoder, sizes["grid"])
    checkpoint = read_tensors(decoder, max_bytes)
    colours = {"pixel_mean": tower.config.pixel_mean, "pixel_std": tower.config.pixel_std}
    with naming(decoder):
        shown = DecoderConfig(**decoder_sizes(checkpoint, choice, decoder_heads), **colours)
        parameters = read_decoder(checkpoint, choice)
    with naming(statistics):
        numbers = published_statistics(*read_statistics(read_tensors(statistics, max_bytes)))
    model = _planned(kind, sizes, tower.config, shown)
    with naming(body):
        fill_body(model.dit, BODIES[kind][0](sizes), theirs)
    with naming(decoder):
        fill(model.space.decoder, parameters, "RAE decoder")
    with naming(statistics):
        model.space.statistics.to_empty(device="cpu").set(*numbers)
    model.space.encoder = tower
    return model.eval()


def load_rae_diffusers(
    body: str | Path,
    autoencoder: str | Path,
    *,
    choice: str = "ema",
    position_step: float | None = None,
    max_bytes: int = MAX_BYTES,
    **known: Any,
) -> ClassGenerator:
    """Return the generator of a body and a folder that holds diffusers' `AutoencoderRAE`.

    Args:
        body, choice, max_bytes, known: as in `load_rae`.
        autoencoder: config.json and one safetensors file: encoder, decoder and statistics.
        position_step: of the decoder's positions; see `read_autoencoder_rae`. 1 for one that RAE trained on
            another grid than 16.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: as `load_rae`.
    """
    kind, sizes, theirs = _body(body, choice, max_bytes, known)
    with naming(autoencoder):
        parts = read_autoencoder_rae(*load_folder(autoencoder, DIFFUSERS_STEM), position_step)
        numbers = published_statistics(parts.mean, parts.std, "std_plus_eps")
    model = _planned(
        kind, sizes, EncoderConfig(**parts.encoder_config), DecoderConfig(**parts.decoder_config)
    )
    with naming(body):
        fill_body(model.dit, BODIES[kind][0](sizes), theirs)
    with naming(autoencoder):
        fill(model.space.encoder, parts.encoder, "encoder")
        fill(model.space.decoder, parts.decoder, "decoder")
        model.space.statistics.to_empty(device="cpu").set(*numbers)
    return model.eval()


def save_rae(model: ClassGenerator, folder: Path) -> None:
    """Write body, decoder and statistics as RAE publishes them; the encoder stays as it came.

    Raises:
        ValueError: a generator of other parts.
    """
    body, latents = model.settings.body["kind"], model.settings.latents["kind"]
    if body not in BODIES or latents != "rae" or model.dit.config.time != "fourier":
        raise ValueError(
            f"rae: expected a body of kind {' or '.join(BODIES)} with time 'fourier' over latents of kind "
            f"'rae', got {body!r} with {getattr(model.dit.config, 'time', None)!r} over {latents!r}"
        )
    space = model.space
    write_pickle(published_body(model.dit, BODIES[body][0](asdict(model.dit.config))), folder / BODY_FILE)
    shown = {**space.decoder.state_dict(), "positions": space.decoder.positions}
    write_pickle(write_decoder(shown), folder / DECODER_FILE)
    variance = FORMS["variance"][1](space.statistics.std.double()).clamp_min(0).float()
    write_pickle(write_statistics(space.statistics.mean, variance), folder / STATISTICS_FILE)


def _body(
    path: str | Path, choice: str, max_bytes: int, known: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Return (kind, sizes, state dict) of a body: a wide head's has an embedding of its own."""
    theirs = state_of(path, choice, max_bytes)
    kind = "ddt" if "s_embedder.proj.weight" in theirs else "lightning"
    with naming(path):
        sizes = BODIES[kind][1](theirs, **known)
    if sizes["time"] != "fourier":
        raise ValueError(
            f"{path}: expected RAE's body, with time frequencies (t_embedder.W), found none; is it "
            "LightningDiT's own? Load it as 'lightningdit'"
        )
    return kind, sizes, theirs


def _encoder(source: str | Path | Encoder, grid: int) -> Encoder:
    """Return the encoder, with as many pixels as give the grid and other pictures resized to them."""
    if isinstance(source, Encoder):
        return source
    kind = encoder_kind(source)
    patch_size = read_encoder_config(source, kind).patch_size
    tower = load_encoder(source, kind, image_size=grid * patch_size)
    tower.config = replace(tower.config, resize="bicubic")
    return tower


def _planned(
    kind: str, sizes: Mapping[str, Any], encoder: EncoderConfig, decoder: DecoderConfig
) -> ClassGenerator:
    settings = GeneratorSettings(
        body={"kind": kind, **sizes},
        latents={"kind": "rae", "encoder": to_dict(encoder), "decoder": to_dict(decoder)},
        flow=FLOW,
        sampling=SAMPLING,
    )
    return planned(ClassGenerator, settings)
