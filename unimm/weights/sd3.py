"""The published names of Stable Diffusion 3's transformer: diffusers' folders and the original single files.

Differences of form, all exact: q, k and v are one matrix in ours and in the original; the modulations of
the final layer and of text in the last block come as (scale, shift) in diffusers, as (shift, scale) in ours
and in the original; the position table is separable and kept as its two axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, Form, KeyMap, State, convolution, num_layers

SINGLE_FILE = "model.diffusion_model."
"""The prefix in the original single files, which hold the autoencoder (and the text encoders) beside it."""

AXES = {"positions.columns", "positions.rows"}


@dataclass(frozen=True)
class SD3Map(KeyMap):
    """The names of one transformer; `diffusers_sd3` and `original_sd3` make it from the sizes."""

    def read(self, theirs: State, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return (parameters, no tables) under our names; the position table is among the parameters.

        Raises:
            ValueError: missing or unexpected names, or a position table that is not separable.
        """
        parameters, tables = super().read(theirs, prefix)
        return parameters | split_positions(parameters.pop("positions")), tables

    def write(self, ours: State, prefix: str = "") -> dict[str, Tensor]:
        """Return published names from ours; positions.columns and .rows too, where they are buffers.

        Raises:
            ValueError: missing or unexpected names, all of them listed.
        """
        refuse(self.name, missing=AXES - ours.keys())
        rest = {name: x for name, x in ours.items() if name not in AXES}
        table = join_positions(ours["positions.columns"], ours["positions.rows"])
        return super().write(rest | {"positions": table}, prefix)


def diffusers_sd3(sizes: Mapping[str, Any]) -> SD3Map:
    """Return the names in diffusers' layout, for the sizes of `mmdit_sizes`."""
    return SD3Map("diffusers SD3 transformer", tuple(_rows(sizes, DIFFUSERS)))


def original_sd3(sizes: Mapping[str, Any]) -> SD3Map:
    """Return the names in the original layout, for the sizes of `original_sd3_sizes`."""
    return SD3Map("original SD3 transformer", tuple(_rows(sizes, ORIGINAL)))


def original_sd3_sizes(theirs: State, prefix: str = SINGLE_FILE, grid: int = 128) -> dict[str, Any]:
    """Return the sizes of an original file, named as in MMDiTConfig, read from its tensors.

    Args:
        theirs: names and tensors (or what has their shape).
        prefix: before the names; others are not looked at.
        grid: latents per side of a square picture, which the file does not tell; 128 is 1024 pixels.

    Raises:
        ValueError: a tensor that tells a size is absent.
    """
    found = {name.removeprefix(prefix): x for name, x in theirs.items() if name.startswith(prefix)}
    telling = ("x_embedder.proj.weight", "context_embedder.weight", "y_embedder.mlp.0.weight", "pos_embed")
    refuse("original SD3 transformer", missing=[prefix + name for name in telling if name not in found])
    width, channels, patch_size, _ = found["x_embedder.proj.weight"].shape
    depth = num_layers(found, "joint_blocks.")
    head_norm = found.get("joint_blocks.0.x_block.attn.ln_q.weight")
    return {
        "channels": channels,
        "width": width,
        "depth": depth,
        "heads": width // (64 if head_norm is None else head_norm.shape[0]),
        "grid": min(grid, math.isqrt(found["pos_embed"].shape[1]) * patch_size),
        "sequence_width": found["context_embedder.weight"].shape[1],
        "pooled_width": found["y_embedder.mlp.0.weight"].shape[1],
        "patch_size": patch_size,
        "qk_norm": head_norm is not None,
        "dual_blocks": tuple(
            i for i in range(depth) if f"joint_blocks.{i}.x_block.attn2.qkv.weight" in found
        ),
        "max_grid": math.isqrt(found["pos_embed"].shape[1]) * patch_size,
        "positions": "stored",
    }


def split_positions(table: Tensor) -> dict[str, Tensor]:
    """Return positions.columns and positions.rows, [side W/2] each, of a position table [side^2 W].

    Raises:
        ValueError: the table is not square, or is no sine table: its first half must depend on the column
            only, its second on the row only.
    """
    side = math.isqrt(len(table))
    if side * side != len(table) or table.shape[-1] % 2:
        raise ValueError(f"position table: expected [side^2 W] with W even, got {list(table.shape)}")
    across, down = table.unflatten(0, (side, side)).chunk(2, dim=-1)
    if not (across == across[:1]).all() or not (down == down[:, :1]).all():
        raise ValueError(
            "position table: expected a sine table as in every published file, its first half a function of "
            "the column and its second of the row; this one was trained or built otherwise and cannot be read"
        )
    return {"positions.columns": across[0].clone(), "positions.rows": down[:, 0].clone()}


def join_positions(columns: Tensor, rows: Tensor) -> Tensor:
    """Return the position table [side^2 W] in reading order from its axes, [side W/2] each."""
    across = columns.expand(len(rows), -1, -1)
    down = rows[:, None].expand(-1, len(columns), -1)
    return torch.cat([across, down], dim=-1).flatten(0, 1)


@dataclass(frozen=True)
class _Stream:
    """The names of one stream's parts within a block."""

    qkv: tuple[str, ...]
    norms: tuple[str, str]
    out: str
    modulation: str = ""
    mlp: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class _Layout:
    """The names of one published layout."""

    outside: dict[str, str]
    """Linear layers outside the blocks, ours to theirs."""
    positions: str
    block: str
    image: _Stream
    text: _Stream
    second: _Stream
    last: str | Form
    """Form of the two modulations without a gate."""


def _swap(x: Tensor) -> Tensor:
    return torch.cat(x.chunk(2)[::-1])


DIFFUSERS = _Layout(
    {
        "embed": "pos_embed.proj",
        "time.hidden": "time_text_embed.timestep_embedder.linear_1",
        "time.out": "time_text_embed.timestep_embedder.linear_2",
        "pooled.hidden": "time_text_embed.text_embedder.linear_1",
        "pooled.out": "time_text_embed.text_embedder.linear_2",
        "context": "context_embedder",
        "final.modulation": "norm_out.linear",
        "final.out": "proj_out",
    },
    positions="pos_embed.pos_embed",
    block="transformer_blocks",
    image=_Stream(
        ("attn.to_q", "attn.to_k", "attn.to_v"),
        ("attn.norm_q", "attn.norm_k"),
        "attn.to_out.0",
        "norm1.linear",
        ("ff.net.0.proj", "ff.net.2"),
    ),
    text=_Stream(
        ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        ("attn.norm_added_q", "attn.norm_added_k"),
        "attn.to_add_out",
        "norm1_context.linear",
        ("ff_context.net.0.proj", "ff_context.net.2"),
    ),
    second=_Stream(
        ("attn2.to_q", "attn2.to_k", "attn2.to_v"), ("attn2.norm_q", "attn2.norm_k"), "attn2.to_out.0"
    ),
    last=(_swap, _swap),
)


def _original_stream(stream: str, attention: str) -> _Stream:
    inside = f"{stream}.{attention}"
    return _Stream(
        (f"{inside}.qkv",),
        (f"{inside}.ln_q", f"{inside}.ln_k"),
        f"{inside}.proj",
        f"{stream}.adaLN_modulation.1",
        (f"{stream}.mlp.fc1", f"{stream}.mlp.fc2"),
    )


ORIGINAL = _Layout(
    {
        "embed": "x_embedder.proj",
        "time.hidden": "t_embedder.mlp.0",
        "time.out": "t_embedder.mlp.2",
        "pooled.hidden": "y_embedder.mlp.0",
        "pooled.out": "y_embedder.mlp.2",
        "context": "context_embedder",
        "final.modulation": "final_layer.adaLN_modulation.1",
        "final.out": "final_layer.linear",
    },
    positions="pos_embed",
    block="joint_blocks",
    image=_original_stream("x_block", "attn"),
    text=_original_stream("context_block", "attn"),
    second=_original_stream("x_block", "attn2"),
    last="same",
)


def _rows(sizes: Mapping[str, Any], layout: _Layout) -> Iterator[Entry]:
    """Yield every tensor of a transformer of these sizes; layers are written out, as they differ."""
    for ours, theirs in layout.outside.items():
        weight, bias = _linear(ours, (theirs,), layout.last if ours == "final.modulation" else "same")
        yield (
            Entry(weight.ours, weight.theirs, convolution(sizes["patch_size"])) if ours == "embed" else weight
        )
        yield bias
    yield Entry("positions", (layout.positions,), "row")
    for i in range(sizes["depth"]):
        image, text = f"blocks.{i}.image", f"blocks.{i}.text"
        yield from _stream(sizes, layout, i, image, layout.image)
        yield from _stream(sizes, layout, i, text, layout.text, last=i == sizes["depth"] - 1)
        if i in sizes["dual_blocks"]:
            yield from _attention(sizes, layout, i, f"{image}.second", f"{image}.second", layout.second)


def _stream(
    sizes: Mapping[str, Any], layout: _Layout, i: int, ours: str, names: _Stream, last: bool = False
) -> Iterator[Entry]:
    """Yield one stream of block i; text in the last block has no output and no MLP."""
    block = f"{layout.block}.{i}"
    yield from _linear(
        f"{ours}.modulation", (f"{block}.{names.modulation}",), layout.last if last else "same"
    )
    yield from _attention(sizes, layout, i, f"{ours}.projection", None if last else ours, names)
    if not last:
        for part, name in zip(("hidden", "out"), names.mlp, strict=True):
            yield from _linear(f"{ours}.mlp.{part}", (f"{block}.{name}",))


def _attention(
    sizes: Mapping[str, Any], layout: _Layout, i: int, ours: str, out: str | None, names: _Stream
) -> Iterator[Entry]:
    """Yield q, k, v under `ours`, their norms where the sizes say so, and the output under `out`."""
    block = f"{layout.block}.{i}"
    yield from _linear(f"{ours}.qkv", tuple(f"{block}.{name}" for name in names.qkv))
    if sizes["qk_norm"]:
        for part, name in zip(("q_norm", "k_norm"), names.norms, strict=True):
            yield Entry(f"{ours}.{part}.weight", (f"{block}.{name}.weight",))
    if out is not None:
        yield from _linear(f"{out}.out", (f"{block}.{names.out}",))


def _linear(ours: str, theirs: tuple[str, ...], form: str | Form = "same") -> tuple[Entry, Entry]:
    """The weight and the bias of a linear layer, in the same form."""
    return tuple(
        Entry(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs), form)
        for part in ("weight", "bias")
    )
