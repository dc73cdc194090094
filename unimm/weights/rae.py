"""RAE's published files: pixel decoders and latent statistics, both ways.

A decoder is a flat state dict (456 tensors for XL). A training checkpoint holds several whole autoencoders
({"model": ..., "ema": ..., ...}) whose decoder's names start with "decoder."; upstream loads such a file
without complaint into a decoder that then draws noise. Here the prefix is taken off, and gaps are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unimm.shapes import side_of, sincos_table
from unimm.weights.folder import refuse
from unimm.weights.keymap import KeyMap, num_layers
from unimm.weights.scale_rae import DECODER
from unimm.weights.wrapped import unwrapped

RAE_DECODER = KeyMap(
    "RAE decoder",
    # The oldest files have no class token; it was zero then.
    tuple(replace(row, optional=row.optional or row.ours == "class_token") for row in DECODER.rows),
)

HEADS = {768: 12, 1024: 16, 1152: 16}
"""Attention heads by width in the published sizes B, L and XL; no tensor tells them."""

_TABLE_ATOL = 1e-2  # bfloat16 files round the table to 2^-8


def decoder_part(checkpoint: Mapping[str, Any], choice: str = "ema") -> dict[str, Tensor]:
    """Return the decoder's tensors under their bare published names.

    Args:
        checkpoint: a decoder file or a training checkpoint; "module.", "_orig_mod." and "decoder." may
            stand before the names.
        choice: which of a training checkpoint's state dicts.

    Raises:
        ValueError: no such state dict, or names beside "decoder." and "encoder.", all of them listed.
    """
    state = unwrapped(checkpoint, choice, "RAE decoder")
    if any(name.startswith("decoder.") for name in state):
        strangers = [name for name in state if not name.startswith(("decoder.", "encoder."))]
        refuse("RAE checkpoint", unexpected=strangers)
        inside = {n.removeprefix("decoder."): x for n, x in state.items() if n.startswith("decoder.")}
        state = unwrapped(inside, choice, "RAE decoder")
    return state


def read_decoder(checkpoint: Mapping[str, Any], choice: str = "ema") -> dict[str, Tensor]:
    """Return our decoder's parameters from a published file; see `decoder_part` for what may be around them.

    Raises:
        ValueError: missing or unexpected names, all of them listed, or positions that are not the table's.
    """
    return whole_decoder(*RAE_DECODER.read(decoder_part(checkpoint, choice)))


def write_decoder(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published decoder file, flat, from our parameters and (a buffer of ours) `positions`.

    Raises:
        ValueError: missing or unexpected names, all of them listed.
    """
    refuse(RAE_DECODER.name, missing={"positions"} - parameters.keys())
    return RAE_DECODER.write(parameters)


def decoder_sizes(
    checkpoint: Mapping[str, Any], choice: str = "ema", heads: int | None = None
) -> dict[str, int]:
    """Return the sizes of a published decoder, named as in DecoderConfig, read from its tensors.

    Args:
        checkpoint: as for `read_decoder`.
        choice: as for `read_decoder`.
        heads: of a width that was not published.

    Raises:
        ValueError: a tensor that tells a size is absent, or heads are neither given nor known.
    """
    state = decoder_part(checkpoint, choice)
    refuse(RAE_DECODER.name, missing={"decoder_pos_embed"} - state.keys())
    grid = side_of(state["decoder_pos_embed"].shape[1] - 1, "decoder_pos_embed")
    return sizes_of_tensors(state, heads) | {"grid": grid}


def sizes_of_tensors(state: Mapping[str, Tensor], heads: int | None = None) -> dict[str, int]:
    """Return what the tensors of one decoder, under bare published names, tell of its config: no grid.

    Raises:
        ValueError: a tensor that tells a size is absent, or heads are neither given nor known.
    """
    telling = ("decoder_embed.weight", "decoder_layers.0.intermediate.dense.weight", "decoder_pred.weight")
    refuse(RAE_DECODER.name, missing=[name for name in telling if name not in state])
    embed, mlp, out = (state[name] for name in telling)
    width, channels = embed.shape
    if heads is None and width not in HEADS:
        raise ValueError(
            f"RAE decoder: no tensor tells the number of heads, and a width of {width} was not published; "
            "give heads"
        )
    return {
        "channels": channels,
        "width": width,
        "depth": num_layers(state, "decoder_layers."),
        "heads": heads or HEADS[width],
        "mlp_width": mlp.shape[0],
        "patch_size": math.isqrt(out.shape[0] // 3),
    }


def whole_decoder(parameters: dict[str, Tensor], tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters with a class token, zero where the file had none.

    Raises:
        ValueError: a position table in the file that is not the sine table which we recompute.
    """
    width = parameters["embed.weight"].shape[0]
    if "positions" in tables:
        found = tables["positions"]
        wanted = sincos_table(side_of(len(found), "decoder_pos_embed"), width)
        if found.shape != wanted.shape or not torch.allclose(found.float(), wanted, atol=_TABLE_ATOL):
            raise ValueError(
                f"RAE decoder: decoder_pos_embed {list(found.shape)} is not the fixed sine table "
                f"{list(wanted.shape)} that this decoder recomputes; was it trained?"
            )
    return {"class_token": torch.zeros_like(parameters["embed.bias"])} | parameters


def read_statistics(theirs: Mapping[str, Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
    """Return (mean, variance) of a published stat.pt, each [C H W] as published, or None where it is absent.

    `published_statistics(mean, variance)` of the latents room makes ours of them. The released file of
    DINOv2-B holds no mean.

    Raises:
        ValueError: other names, both absent, two shapes, or numbers that no variance can be.
    """
    refuse(
        "RAE statistics", missing={"mean", "var"} - theirs.keys(), unexpected=theirs.keys() - {"mean", "var"}
    )
    mean, variance = theirs["mean"], theirs["var"]
    given = [x for x in (mean, variance) if x is not None]
    if not given:
        raise ValueError("RAE statistics: expected mean or var, got None for both")
    shapes = [list(x.shape) for x in given]
    if any(x.ndim != 3 or x.shape != given[0].shape for x in given):
        raise ValueError(f"RAE statistics: expected one shape [C H W], got {' and '.join(map(str, shapes))}")
    if not all(torch.isfinite(x).all() for x in given):
        raise ValueError("RAE statistics: expected finite numbers, got NaN or infinity")
    if variance is not None and (variance < 0).any():
        raise ValueError(f"RAE statistics: expected var of at least 0, got {variance.min().item()}")
    return mean, variance


def write_statistics(mean: Tensor | None, variance: Tensor) -> dict[str, Tensor | None]:
    """Return a published stat.pt from mean (or None) and variance [N C] of a square grid.

    Raises:
        ValueError: N is not a square.
    """
    side = side_of(len(variance), "statistics")
    maps = [None if x is None else x.mT.unflatten(1, (side, side)).contiguous() for x in (mean, variance)]
    return dict(zip(("mean", "var"), maps, strict=True))
