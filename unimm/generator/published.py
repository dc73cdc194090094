"""Published systems as generators: RAE with DiT^DH, SiT with REPA, Stable Diffusion 3.

Files are given as what safetensors or `torch.load(weights_only=True)` makes of them; folders as they come.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimm.config import to_dict
from unimm.flow.densities import Density
from unimm.generator.by_class import ClassGenerator
from unimm.generator.by_text import TextGenerator
from unimm.generator.saving import fill, planned
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoders.tower import Encoder
from unimm.latents.statistics import published_statistics
from unimm.latents.vae import VAE
from unimm.latents.vae_folder import load_vae
from unimm.text.published import load_sd3_text
from unimm.text.sd3 import SD3TextConfig
from unimm.weights.ditdh import ditdh_map, ditdh_sizes
from unimm.weights.rae import decoder_sizes, read_decoder, read_statistics
from unimm.weights.sd3_files import read_sd3_folder
from unimm.weights.sit import read_sit
from unimm.weights.wrapped import unwrapped

RAE_SAMPLING = SamplingSettings(grid="rae", num_inference_steps=49)
"""Published "50 steps" are 50 times of its own grid."""
REPA_FLOW = FlowSettings(density=Density("uniform"), alpha=1.0)
REPA_SAMPLING = SamplingSettings(
    solver="euler_maruyama",
    grid="sde",
    num_inference_steps=250,
    guidance_scale=1.8,
    guidance_interval=(0.0, 0.7),
)
SD3_FLOW = FlowSettings(alpha=3.0)
SD3_SAMPLING = SamplingSettings(
    grid="diffusers", num_inference_steps=28, guidance_scale=7.0, negative_prompt=""
)


def rae_generator(
    dit: Mapping[str, Any],
    decoder: Mapping[str, Any],
    statistics: Mapping[str, Tensor | None],
    encoder: Encoder,
    *,
    decoder_heads: int | None = None,
    **known: Any,
) -> ClassGenerator:
    """Return RAE's class-conditional generator from its published files (arXiv 2510.11690).

    Args:
        dit: a DiT^DH's file, flat or with its averages under "ema".
        decoder: a decoder's file.
        statistics: a stat.pt.
        encoder: that the latents are of, from `latents.encoders.published.load_encoder`. Pixels are drawn in
            its colours.
        decoder_heads: of a decoder whose width was not published.
        known: sizes that the dit's tensors do not tell; see `ditdh_sizes`.

    Raises:
        ValueError: missing or unexpected names, all listed; or parts of different latents.
    """
    theirs = unwrapped(dit, name="DiT^DH")
    sizes = ditdh_sizes(theirs, **known)
    colours = {"pixel_mean": encoder.config.pixel_mean, "pixel_std": encoder.config.pixel_std}
    shown = DecoderConfig(**decoder_sizes(decoder, heads=decoder_heads), **colours)
    settings = GeneratorSettings(
        body={"kind": "ddt", **sizes},
        latents={"kind": "rae", "encoder": to_dict(encoder.config), "decoder": to_dict(shown)},
        flow=FlowSettings(density=Density("truncated_logit_normal")),
        sampling=RAE_SAMPLING,
    )
    model = planned(ClassGenerator, settings)
    fill(model.dit, ditdh_map(sizes).read(theirs)[0], "DiT^DH")
    fill(model.space.decoder, read_decoder(decoder), "RAE decoder")
    model.space.encoder = encoder
    model.space.statistics.to_empty(device="cpu").set(*published_statistics(*read_statistics(statistics)))
    return model.eval()


def repa_generator(sit: Mapping[str, Any], vae: VAE, layout: str = "repa", **known: Any) -> ClassGenerator:
    """Return SiT's class-conditional generator from a published file (arXiv 2401.08740, 2410.06940).

    Args:
        sit: the file, flat or with its averages under "ema"; REPA's projectors are left out.
        vae: Stable Diffusion's, from `load_vae`.
        layout, known: as in `read_sit`. The original DiT's files predict noise on
            another path; see `unimm.flow.ddpm`.

    Raises:
        ValueError: as `read_sit`; the layout of DiT; or parts of different latents.
    """
    if layout == "dit":
        raise ValueError("layout: expected 'repa' or 'sit', got 'dit', whose network predicts DDPM's noise")
    file = read_sit(unwrapped(sit, name="SiT"), layout, **known)
    config = replace(vae.config, image_size=file.sizes["grid"] * vae.config.stride)
    settings = GeneratorSettings(
        body={"kind": "sit", **file.sizes},
        latents={"kind": "sd_vae", **to_dict(config)},
        flow=REPA_FLOW,
        sampling=REPA_SAMPLING,
    )
    model = planned(ClassGenerator, settings)
    fill(model.dit, file.parameters, "SiT")
    model.space = vae
    return model.eval()


def sd3_generator(
    folder: str | os.PathLike[str],
    towers: Sequence[str] | None = None,
    *,
    places: SD3TextConfig | None = None,
    t5_tokens: int = 256,
    dtype: torch.dtype = torch.float32,
) -> TextGenerator:
    """Return Stable Diffusion 3 from a pipeline's folder: transformer, vae, text encoders, tokenizers.

    Its scheduler is ours by name: grid "diffusers", shift 3.

    Args:
        folder: as downloaded.
        towers, places: as in `load_sd3_text`; without "t5" most of the memory is saved.
        t5_tokens: rows of T5's part, 256 in the published pipeline.
        dtype: of transformer and text encoders; the vae stays float32.

    Raises:
        FileNotFoundError: no such folder, or a part of it is missing.
        ValueError: parts with missing or unexpected names, all listed, or that do not fit together.
    """
    root = Path(folder)
    sizes, parameters = read_sd3_folder(root / "transformer")
    vae = load_vae(root / "vae")
    text = load_sd3_text(root, towers, places=places, t5_tokens=t5_tokens, dtype=dtype)
    config = replace(vae.config, image_size=sizes["grid"] * vae.config.stride)
    settings = GeneratorSettings(
        body={"kind": "mmdit", **sizes},
        latents={"kind": "sd3_vae", **to_dict(config)},
        text=text.config,
        flow=SD3_FLOW,
        sampling=SD3_SAMPLING,
    )
    model = planned(TextGenerator, settings)
    fill(model.dit.to(dtype), parameters, "SD3 transformer")
    model.space, model.text = vae, text
    return model.eval()
