"""LightningDiT's published files as a generator by class (Yao et al. 2025, arXiv 2501.01423)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from unimm.files import MAX_BYTES, read_tensors
from unimm.generator.by_class import ClassGenerator
from unimm.generator.published.opening import fill_body, naming, published_body, state_of, write_pickle
from unimm.generator.saving import planned
from unimm.generator.settings import FlowSettings, GeneratorSettings, SamplingSettings
from unimm.latents.statistics import published_statistics
from unimm.weights.lightningdit import (
    lightningdit_map,
    lightningdit_sizes,
    read_latent_statistics,
    write_latent_statistics,
)

FLOW = FlowSettings(alpha=1.0, direction_weight=1.0)
SAMPLING = SamplingSettings(
    num_inference_steps=249,  # 250 points
    alpha=1 / 0.3,
    guidance_scale=6.7,
    guidance_interval=(0.0, 0.89),
    guidance_channels=3,
)
"""Of the body of 800 epochs; the one of 64 epochs was drawn at scale 10."""
STRIDE = 16
"""Pixels per latent position of VA-VAE."""
BODY_FILE, STATISTICS_FILE = "lightningdit.pt", "latents_stats.pt"


def load_lightningdit(
    body: str | Path,
    statistics: str | Path,
    *,
    choice: str = "ema",
    max_bytes: int = MAX_BYTES,
    **known: Any,
) -> ClassGenerator:
    """Return the generator of LightningDiT's files, which draws latents and no pictures.

    VA-VAE, which makes pictures of them, is not read: draw with output_type="latent", and give
    `model.space.raw_maps(latents)` to it.

    Args:
        body: the file of the transformer.
        statistics: `latents_stats.pt`.
        choice: which state dict of a training checkpoint.
        max_bytes: of each file; see `read_tensors`.
        known: sizes that the body's tensors do not tell; see `lightningdit_sizes`.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file that cannot be read safely, missing or unexpected names, all listed, or parts of
            different latents.
    """
    theirs = state_of(body, choice, max_bytes)
    with naming(body):
        sizes = lightningdit_sizes(theirs, **known)
    if sizes["time"] != "sinusoid":
        raise ValueError(
            f"{body}: expected LightningDiT's own file, found time frequencies (t_embedder.W); is it RAE's "
            "variant? Load it as 'rae'"
        )
    with naming(statistics):
        told = read_latent_statistics(read_tensors(statistics, max_bytes))
        numbers = published_statistics(told["mean"], told["std"], "std")
    latents = {"channels": sizes["channels"], "grid": sizes["grid"], "image_size": sizes["grid"] * STRIDE}
    settings = GeneratorSettings(
        body={"kind": "lightning", **sizes},
        latents={"kind": "bare", "codec": "VA-VAE", **latents},
        flow=FLOW,
        sampling=SAMPLING,
    )
    model = planned(ClassGenerator, settings)
    with naming(body):
        fill_body(model.dit, lightningdit_map(sizes), theirs)
    with naming(statistics):
        model.space.statistics.to_empty(device="cpu").set(*numbers)
    return model.eval()


def save_lightningdit(model: ClassGenerator, folder: Path) -> None:
    """Write body and statistics as LightningDiT publishes them.

    Raises:
        ValueError: another body, or statistics that differ between tokens.
    """
    kind, config = model.settings.body["kind"], model.dit.config
    if kind != "lightning" or not config.time_reversed:
        raise ValueError(
            f"lightningdit: expected a body of kind 'lightning' with time_reversed, got {kind!r} with "
            f"time_reversed={getattr(config, 'time_reversed', None)}"
        )
    statistics = getattr(model.space, "statistics", None)
    if statistics is None or any((x != x[:1]).any() for x in (statistics.mean, statistics.std)):
        raise ValueError("lightningdit: expected latent statistics alike for every token, as published")
    write_pickle(published_body(model.dit, lightningdit_map(asdict(config))), folder / BODY_FILE)
    numbers = {"mean": statistics.mean[0], "std": statistics.std[0]}
    write_pickle(write_latent_statistics(numbers), folder / STATISTICS_FILE)
