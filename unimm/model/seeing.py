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
from unimm.llm.decoding import Rows
from unimm.llm.rounding import first_norm_rounded, rounded
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


def rounded_rows(model: UniMM, batch: Batch, asked: bool | None = None) -> Tensor | None:
    """Return which rows [B] of a batch are rounded; None where none is. Asked as in `UniMM.embed`."""
    if not (model.profile.rounds_embeddings if asked is None else asked):
        return None
    seeing = _with_runs(batch.context_runs, batch)
    return seeing if asked is None else torch.ones_like(seeing)


def reading(model: UniMM, batch: Batch, asked: bool | None = None) -> AbstractContextManager[None]:
    """Return a context in which the LLM reads the embeddings of a batch, made with the same `asked`.

    In it the first norm rounds what is rounded all along the row. What comes later, word by word, is read
    outside: the published code lets nothing round the words that it has said itself.
    """
    rows = rounded_rows(model, batch, asked)
    if rows is None:
        return nullcontext()
    return first_norm_rounded(model.llm, (rows & ~_with_runs(batch.query_runs, batch))[:, None])


def rows_read(model: UniMM, batch: Batch) -> Rows:
    """Return the rows of a batch, read to their ends as `UniMM.forward` reads them, to be continued."""
    with reading(model, batch):
        return Rows(model.llm, model.embed(batch), batch.attention_mask.sum(1))


def _with_runs(runs: Sequence[Run], batch: Batch) -> Tensor:
    """Return which rows of a batch have one of these runs, bool [B]."""
    found = torch.zeros(len(batch.input_ids), dtype=torch.bool, device=batch.input_ids.device)
    found[[run.row for run in runs]] = True
    return found
