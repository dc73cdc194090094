"""REPA's, SiT's and DiT's published files as generators by class: one network over Stable Diffusion's VAE.

Ma et al. 2024 (arXiv 2401.08740), Yu et al. 2025 (arXiv 2410.06940), Peebles & Xie 2023 (arXiv 2212.09748).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unimm.config import to_dict
from unimm.files import MAX_BYTES
from unimm.flow.densities import Density
from unimm.generator.by_class import ClassGenerator
from unimm.generator.published.opening import naming, state_of, write_pickle
from unimm.generator.saving import fill, planned
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings
from unimm.latents.vae_folder import load_vae
from unimm.weights.sit import LAYOUTS, SitFile, read_sit, write_sit

NOISY = SamplingSettings(solver="euler_maruyama", grid="sde", num_inference_steps=250)
FIRST_CHANNELS = replace(NOISY, guidance_scale=1.5, guidance_channels=3)
"""DiT and SiT guide three of the four channels."""
UNSHIFTED = FlowSettings(density=Density("uniform"), alpha=1.0)

PUBLISHED: dict[str, tuple[FlowSettings, SamplingSettings]] = {
    "repa": (UNSHIFTED, replace(NOISY, guidance_scale=1.8, guidance_interval=(0.0, 0.7))),
    "sit": (UNSHIFTED, FIRST_CHANNELS),
    "dit": (replace(UNSHIFTED, prediction="ddpm"), FIRST_CHANNELS),
}
"""Flow and best published sampling by layout. DiT's own sampler, DDPM's with learned variances, is not here:
it is drawn as SiT is, at equal ratios of noise, and the half of its output that tells variances is unused."""
BODY_FILE = "last.pt"


def load_repa(body: str | Path, vae: str | Path, **options: Any) -> ClassGenerator:
    """Return REPA's SiT, drawn as its headline numbers were. See `load_layout`."""
    return load_layout("repa", body, vae, **options)


def load_sit(body: str | Path, vae: str | Path, **options: Any) -> ClassGenerator:
    """Return the original SiT, whose files count time the other way round. See `load_layout`."""
    return load_layout("sit", body, vae, **options)


def load_dit(body: str | Path, vae: str | Path, **options: Any) -> ClassGenerator:
    """Return the original DiT, which tells the noise on DDPM's chain. See `load_layout`."""
    return load_layout("dit", body, vae, **options)


def load_layout(
    layout: str,
    body: str | Path,
    vae: str | Path,
    *,
    choice: str = "ema",
    max_bytes: int = MAX_BYTES,
    **known: Any,
) -> ClassGenerator:
    """Return the generator of a published body and the VAE that its latents are of.

    Args:
        layout: a row of LAYOUTS, which no tensor tells.
        body: the file; REPA's projectors in it are left out.
        vae: Stable Diffusion's, a folder that diffusers saved.
        choice: which state dict of a training checkpoint.
        max_bytes: of the file; see `read_tensors`.
        known: sizes that the body's tensors do not tell; see `read_sit`.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: a file that cannot be read safely, missing or unexpected names, all listed, another
            layout, or parts of different latents.
    """
    theirs = state_of(body, choice, max_bytes)
    with naming(body):
        file = read_sit(theirs, layout, **known)
    space = load_vae(vae)
    space.config = replace(space.config, image_size=file.sizes["grid"] * space.config.stride)
    flow, sampling = PUBLISHED[layout]
    settings = GeneratorSettings(
        body={"kind": "sit", **file.sizes},
        latents={"kind": "sd_vae", **to_dict(space.config)},
        flow=flow,
        sampling=sampling,
    )
    model = planned(ClassGenerator, settings)
    with naming(body):
        fill(model.dit, file.parameters, layout)
    model.space = space
    return model.eval()


def save_repa(model: ClassGenerator, folder: Path) -> None:
    """Write a SiT as REPA's files are. See `save_layout`."""
    save_layout("repa", model, folder)


def save_sit(model: ClassGenerator, folder: Path) -> None:
    """Write a SiT as the original files are. See `save_layout`."""
    save_layout("sit", model, folder)


def save_dit(model: ClassGenerator, folder: Path) -> None:
    """Write a DiT as the original files are. See `save_layout`."""
    save_layout("dit", model, folder)


def save_layout(layout: str, model: ClassGenerator, folder: Path) -> None:
    """Write the body as the layout's files are, without projectors; the VAE stays as it came.

    Raises:
        ValueError: another body, or one whose time or output is not the layout's.
    """
    kind, sizes = model.settings.body["kind"], asdict(model.dit.config)
    wanted = LAYOUTS[layout] | {"prediction": PUBLISHED[layout][0].prediction}
    found = {name: sizes.get(name) for name in LAYOUTS[layout]}
    found["prediction"] = model.settings.flow.prediction
    if kind != "sit" or found != wanted:
        raise ValueError(f"{layout}: expected a body of kind 'sit' with {wanted}, got {kind!r} with {found}")
    write_pickle(write_sit(SitFile(sizes, dict(model.dit.state_dict()), {})), folder / BODY_FILE)
