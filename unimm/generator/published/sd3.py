"""Stable Diffusion 3 as a generator by text (Esser et al. 2024, arXiv 2403.03206)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimm.config import to_dict
from unimm.generator.by_text import TextGenerator
from unimm.generator.published.opening import naming
from unimm.generator.saving import fill, planned
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings
from unimm.latents.vae_folder import load_vae
from unimm.text.published import load_sd3_text
from unimm.text.sd3 import SD3TextConfig
from unimm.weights.folder import refuse
from unimm.weights.sd3_files import read_sd3_file, read_sd3_folder, write_sd3_folder
from unimm.whole import read_json

SHIFT = 3.0
SAMPLING = SamplingSettings(grid="diffusers", num_inference_steps=28, guidance_scale=7.0, negative_prompt="")
"""The published pipeline's own defaults."""

SCHEDULER = "scheduler/scheduler_config.json"
_ALWAYS = {  # what our grid "diffusers" is, and diffusers' defaults
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "use_dynamic_shifting": False,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "stochastic_sampling": False,
}
_OF_NO_EFFECT = {
    "shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "time_shift_type",
    "_diffusers_version", "_name_or_path",
}  # fmt: skip


def load_sd3(
    folder: str | os.PathLike[str],
    *,
    towers: Sequence[str] | None = None,
    places: SD3TextConfig | None = None,
    t5_tokens: int = 256,
    dtype: torch.dtype = torch.float32,
) -> TextGenerator:
    """Return Stable Diffusion 3 from a pipeline's folder: transformer, vae, text encoders, scheduler.

    Args:
        folder: as downloaded.
        towers, places: as in `load_sd3_text`; without "t5" most of the memory is saved.
        t5_tokens: rows of T5's part, 256 in the published pipeline.
        dtype: of transformer and text encoders; the vae stays float32.

    Raises:
        FileNotFoundError: no such folder, or a part of it is missing.
        ValueError: parts with missing or unexpected names, all listed, that do not fit together, or another
            scheduler than SD3's.
    """
    root = Path(folder)
    with naming(root / "transformer"):
        sizes, parameters = read_sd3_folder(root / "transformer")
    text = {"folder": root, "towers": towers, "places": places, "t5_tokens": t5_tokens}
    return _wired(
        sizes, parameters, root / "transformer", root / "vae", text, _shift(root / SCHEDULER), dtype
    )


def load_sd3_file(
    body: str | os.PathLike[str],
    vae: str | os.PathLike[str],
    text: str | os.PathLike[str],
    *,
    shift: float = SHIFT,
    grid: int = 128,
    heads: int | None = None,
    towers: Sequence[str] | None = None,
    places: SD3TextConfig | None = None,
    t5_tokens: int = 256,
    dtype: torch.dtype = torch.float32,
) -> TextGenerator:
    """Return Stable Diffusion 3 from its original single file, with vae and text encoders in folders.

    Args:
        body: safetensors; an autoencoder or text encoders in it too are not read.
        vae: a folder that diffusers saved.
        text: a folder with text_encoder, tokenizer and so on; see `load_sd3_text`.
        shift: of the time grid, which no tensor tells; 3 as published.
        grid: latent positions per side where nobody says otherwise; 128 as published.
        heads: of a transformer whose width was not published.
        towers, places, t5_tokens, dtype: as in `load_sd3`.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: parts with missing or unexpected names, all listed, or that do not fit together.
    """
    with naming(body):
        sizes, parameters = read_sd3_file(body, grid=grid)
    sizes |= {"heads": heads or sizes["heads"]}
    told = {"folder": text, "towers": towers, "places": places, "t5_tokens": t5_tokens}
    return _wired(sizes, parameters, body, vae, told, shift, dtype)


def save_sd3(model: TextGenerator, folder: Path) -> None:
    """Write the transformer as diffusers' pipelines hold it; vae and text encoders stay as they came.

    Raises:
        ValueError: another body, or one that diffusers cannot build.
    """
    if model.settings.body["kind"] != "mmdit":
        raise ValueError(f"sd3: expected a body of kind 'mmdit', got {model.settings.body['kind']!r}")
    buffers = dict(model.dit.named_buffers())
    tables = {name: buffers[name] for name in ("positions.columns", "positions.rows") if name in buffers}
    write_sd3_folder({**model.dit.state_dict(), **tables}, asdict(model.dit.config), folder / "transformer")


def _wired(
    sizes: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    body: str | os.PathLike[str],
    vae: str | os.PathLike[str],
    text: Mapping[str, Any],
    shift: float,
    dtype: torch.dtype,
) -> TextGenerator:
    space = load_vae(vae)
    space.config = replace(space.config, image_size=sizes["grid"] * space.config.stride)
    towers = load_sd3_text(**text, dtype=dtype)
    if text["places"] is None:  # all padded to what the transformer reads
        towers.config = replace(towers.config, width=sizes["sequence_width"])
    settings = GeneratorSettings(
        body={"kind": "mmdit", **sizes},
        latents={"kind": "sd3_vae", **to_dict(space.config)},
        text=towers.config,
        flow=FlowSettings(alpha=shift),
        sampling=SAMPLING,
    )
    model = planned(TextGenerator, settings)
    with naming(body):
        fill(model.dit.to(dtype), parameters, "SD3 transformer")
    model.space, model.text = space, towers
    return model.eval()


def _shift(path: Path) -> float:
    """Return the shift in a scheduler's config.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another scheduler, or settings that make another grid; all are listed.
    """
    values = read_json(path, of="scheduler")
    with naming(path):
        refuse(
            "scheduler",
            unknown=values.keys() - _ALWAYS.keys() - _OF_NO_EFFECT,
            differing=[
                f"{name} ({values[name]!r}, read here is {wanted!r})"
                for name, wanted in _ALWAYS.items()
                if values.get(name, wanted) != wanted
            ],
        )
    return float(values.get("shift", 1.0))  # diffusers' default
