"""The networks that sets and pairs of pictures are measured with, by the names of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from unimm.evaluation.judges.table import load_judge
from unimm.evaluation.metrics.features import Backbone, Distance
from unimm.evaluation.metrics.published import inception, lpips
from unimm.latents.pixels import to_pixels
from unimm.tables import pick


def own(source: str, device: str) -> Backbone:
    """Return the mean latent of a UniMM's encoder, as it is seen, under the model's name."""
    from unimm.evaluation.judges.loading import name_of
    from unimm.evaluation.judges.own import load_own

    model = load_own(source, device)
    size = model.config.settings.encoder.image_size

    @torch.no_grad()
    def features(pictures: np.ndarray) -> np.ndarray:
        pixels = to_pixels(list(pictures), size).to(model.device, model.dtype)
        return model.encode_image(pixels).mean(1).float().cpu().numpy()

    return Backbone(name_of(source), features)


def contrastive(kind: str, source: str, device: str) -> Backbone:
    """Return the embeddings of a CLIP or SigLIP."""
    embedder = load_judge("embedder", f"{kind}:{source}", device=device)
    return Backbone(embedder.name, lambda pictures: embedder.images(images_of(pictures)))


def images_of(pictures: np.ndarray) -> list[Image.Image]:
    """Return pictures, uint8 [B Hp Wp 3], as Pillow's."""
    return [Image.fromarray(picture) for picture in pictures]


BACKBONES: Mapping[str, Callable[[str, str], Backbone]] = {
    "own": own,
    "inception": inception,
    "clip": lambda source, device: contrastive("clip", source, device),
    "siglip": lambda source, device: contrastive("siglip", source, device),
}
"""`make(source, device)` by name; "inception" takes the published file alone."""
DISTANCES: Mapping[str, Callable[[str, str], Distance]] = {
    "lpips_vgg": lambda source, device: lpips(source, "vgg", device),
    "lpips_alex": lambda source, device: lpips(source, "alex", device),
}
"""`make(source, device)` by name; the published weights alone."""


def open_backbone(spec: str, device: str = "cpu") -> Backbone:
    """Return what makes features, such as `open_backbone("own:tiny")`."""
    return _opened("--features", spec, BACKBONES, device)


def open_distance(spec: str, device: str = "cpu") -> Distance:
    """Return a distance of pairs, such as `open_distance("lpips_vgg:FILE")`."""
    return _opened("--distance", spec, DISTANCES, device)


def _opened(option: str, spec: str, table: Mapping[str, Callable[[str, str], Any]], device: str) -> Any:
    name, _, source = spec.partition(":")
    make = pick(option, name, table)
    if not source:
        raise ValueError(f"{option}: expected {name}:FILE, FOLDER or name, got {spec!r}")
    return make(source, device)


def fits(embedder: Any, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return how well each picture fits its text, [n], under every score that the embedder's family has."""
    from unimm.evaluation.metrics.agreement import CLIP_SCORES, clip_score, siglip_score

    pair = embedder.images(images), embedder.texts(texts)
    scale = getattr(embedder.model, "logit_bias", None)
    if scale is None:
        return {f"{name}@{embedder.name}": clip_score(*pair, name) for name in CLIP_SCORES}
    settings = (float(embedder.model.logit_scale.exp()), float(embedder.model.logit_bias))
    return {f"siglip_score@{embedder.name}": siglip_score(*pair, *settings)}
