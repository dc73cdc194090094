"""Pixels to latents and back: the latents that are seen, the latents that are drawn, and how they meet.

Of a RAE both are one and the same. Where a model draws in another space (Scale-RAE's FLUX-VAE variant), it
sees what it drew as it sees any picture: decoded and encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unimm.latents.encoder import Encoder
from unimm.latents.pixels import resize_pixels
from unimm.llm.rounding import first_norm_rounded, rounded
from unimm.model.placing import device_of
from unimm.parts import Batch, Run
from unimm.shapes import expect

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM


def encode_image(model: UniMM, pixels: Tensor) -> Tensor:
    """Return the latents that are seen; documented at `UniMM.encode_image`."""
    raw = raw_latents(model, pixels)
    return model.statistics.normalise(raw) if model.config.settings.sees_drawn else raw


def encode_target(model: UniMM, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the latents that are drawn; documented at `UniMM.encode_target`."""
    space = model.drawn
    if space is None:
        raw = raw_latents(model, pixels)
    elif generator is None or not hasattr(space, "sample"):
        raw = space.encode(pixels)
    else:
        raw = space.sample(pixels, generator)
    return model.statistics.normalise(raw)


def decode_latents(model: UniMM, latents: Tensor) -> Tensor:
    """Return pixels of drawn latents; documented at `UniMM.decode_latents`."""
    return (model.decoder if model.drawn is None else model.drawn).decode(model.statistics.restore(latents))


def to_seen(model: UniMM, latents: Tensor) -> Tensor:
    """Return drawn latents as they are seen; documented at `UniMM.to_seen`."""
    settings = model.config.settings
    expect("drawn latents", latents, "M N C", N=settings.num_latents, C=settings.dit.channels)
    if settings.sees_drawn:
        return latents
    if settings.drawn is None:
        return model.statistics.restore(latents)
    pixels = decode_latents(model, latents)
    return encode_image(model, resize_pixels(pixels, settings.encoder.image_size).to(model.dtype))


def raw_latents(model: UniMM, pixels: Tensor) -> Tensor:
    """Return the encoder's latents [B N C], not normalised, of pixels [B 3 Hp Wp] in [0, 1]."""
    if not model.profile.rounds_embeddings:
        return model.encoder.encode(pixels)
    return rounded_latents(model.encoder, pixels)


def rounded_latents(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Return raw latents as the published code makes them: what enters and leaves the tower is bfloat16.

    So is what a norm after the tower puts out.
    """
    features = encoder.hidden(rounded(encoder.standardise(encoder.fit(pixels))))
    return rounded(encoder.norm(features if encoder.norms_inside else rounded(features)))


def rows_of(runs: Sequence[Run], batch: Batch) -> Tensor:
    """Return which rows of a batch have one of these runs, bool [B]."""
    found = torch.zeros(len(batch.input_ids), dtype=torch.bool, device=batch.input_ids.device)
    found[[run.row for run in runs]] = True
    return found


def beside_a_picture(model: UniMM) -> AbstractContextManager[None]:
    """Return a context in which the LLM reads what stands in one row with a picture, part by part.

    Each part is embedded with rounds=None where it holds the picture, else with the profile's word.
    """
    if not model.profile.rounds_embeddings:
        return nullcontext()
    return first_norm_rounded(model.llm, torch.ones(1, 1, dtype=torch.bool, device=device_of(model.llm)))
