"""What LightningDiT, RAE and Scale-RAE files share: names of modulated blocks, sizes their tensors tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, State, convolution, layer, num_layers

Sizes = Mapping[str, Any]
"""Values of a body's config by the names of its fields."""

UNTOLD: Any = object()
"""Stands for a size that the tensors at hand do not tell."""

TELLING = (
    "t_embedder.mlp.2.weight",
    "y_embedder.embedding_table.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.adaLN_modulation.1.weight",
    "final_layer.linear.weight",
)
"""Tensors of a body with class labels whose shapes tell its sizes."""

MLPS = {
    "swiglu": (
        *layer("blocks.{i}.mlp.gate_value", "{b}.mlp.w12"),
        *layer("blocks.{i}.mlp.out", "{b}.mlp.w3"),
    ),
    "gelu": (*layer("blocks.{i}.mlp.hidden", "{b}.mlp.fc1"), *layer("blocks.{i}.mlp.out", "{b}.mlp.fc2")),
}
NORMS = {
    "rms": (
        Entry("blocks.{i}.attention_norm.weight", ("{b}.norm1.weight",)),
        Entry("blocks.{i}.mlp_norm.weight", ("{b}.norm2.weight",)),
    ),
    "layer": (),
}
FINAL_NORMS = {"rms": (Entry("final.norm.weight", ("final_layer.norm_final.weight",)),), "layer": ()}
HEAD_NORMS = {
    True: (
        Entry("blocks.{i}.attention.q_norm.weight", ("{b}.attn.q_norm.weight",)),
        Entry("blocks.{i}.attention.k_norm.weight", ("{b}.attn.k_norm.weight",)),
    ),
    False: (),
}
SIGNS = {False: "same", True: "negated"}
"""A network whose time is reversed predicts x - e; ours is e - x."""


def block_rows(sizes: Sizes, blocks: str = "blocks") -> tuple[Entry, ...]:
    """Return the rows of one block; `blocks` is the published name of the list."""
    rows = (
        *layer("blocks.{i}.attention.qkv", "{b}.attn.qkv"),
        *layer("blocks.{i}.attention.out", "{b}.attn.proj"),
        *HEAD_NORMS[sizes["qk_norm"]],
        *NORMS[sizes["norm"]],
        *MLPS[sizes["mlp"]],
        *layer("blocks.{i}.modulation", "{b}.adaLN_modulation.1"),
    )
    return tuple(
        Entry(row.ours, tuple(name.replace("{b}", blocks + ".{i}") for name in row.theirs)) for row in rows
    )


def outer_rows(sizes: Sizes, embed: str) -> tuple[Entry, ...]:
    """Return the rows around the blocks; `embed` is the published name of the (base's) embedding."""
    sign = SIGNS[sizes["time_reversed"]]
    return (
        *layer("embed", f"{embed}.proj", form=convolution(sizes["patch_size"])),
        *layer("time.hidden", "t_embedder.mlp.0"),
        *layer("time.out", "t_embedder.mlp.2"),
        *FINAL_NORMS[sizes["norm"]],
        *layer("final.modulation", "final_layer.adaLN_modulation.1"),
        Entry("final.out.weight", ("final_layer.linear.weight",), sign),
        Entry("final.out.bias", ("final_layer.linear.bias",), sign),
        Entry("positions", ("pos_embed",), "row", table=True),
    )


def label_rows(sizes: Sizes) -> tuple[Entry, ...]:
    """Return the rows of class labels and of frequencies kept in the file."""
    own = (Entry("frequencies", ("t_embedder.W",)),) if sizes["num_frequencies"] else ()
    return Entry("labels.table.weight", ("y_embedder.embedding_table.weight",)), *own


def bridge_rows(sizes: Sizes) -> tuple[Entry, ...]:
    """Return the rows between a base and a head of another width."""
    return layer("bridge", "s_projector") if sizes["width"] != sizes["head_width"] else ()


def rope_rows(ours: str, theirs: str) -> tuple[Entry, Entry]:
    """Return the rows of a rotary table; ours has every angle once."""
    return (
        Entry(f"{ours}_cos", (f"{theirs}.freqs_cos",), "pairs", table=True),
        Entry(f"{ours}_sin", (f"{theirs}.freqs_sin",), "pairs", table=True),
    )


def under(theirs: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): x for name, x in theirs.items() if name.startswith(prefix)}


def refuse_untold(name: str, found: State, *embeds: str, prefix: str = "") -> None:
    """Raise a ValueError that lists the tensors whose shapes are needed and that are absent."""
    telling = (*(f"{embed}.proj.weight" for embed in embeds), *TELLING)
    refuse(name, missing=[prefix + tensor for tensor in telling if tensor not in found])


def block_sizes(found: State, blocks: str = "blocks") -> dict[str, Any]:
    """Return what the first block tells: the variants of all."""
    first = f"{blocks}.0"
    width = found[f"{first}.attn.qkv.weight"].shape[1]
    return {
        "norm": "rms" if f"{first}.norm1.weight" in found else "layer",
        "mlp": "swiglu" if f"{first}.mlp.w12.weight" in found else "gelu",
        "shift": found[f"{first}.adaLN_modulation.1.weight"].shape[0] == 6 * width,
        "qk_norm": f"{first}.attn.q_norm.weight" in found,
    }


def mlp_width(found: State, block: int, blocks: str = "blocks") -> int | None:
    """Return the hidden width of a block's MLP."""
    names = (f"{blocks}.{block}.mlp.w3.weight", f"{blocks}.{block}.mlp.fc2.weight")
    return next((found[name].shape[1] for name in names if name in found), None)


def block_widths(found: State, blocks: str = "blocks") -> list[int]:
    """Return the width of every block."""
    count = num_layers(found, f"{blocks}.")
    names = (f"{blocks}.{i}.attn.qkv.weight" for i in range(count))
    return [found[name].shape[1] for name in names if name in found]


def heads_of(found: State, width: int, rope: str, block: int, blocks: str = "blocks") -> int:
    """Return the attention heads of a block, by the width of one: of its rotary table or its norms."""
    names = (f"{rope}.freqs_cos", f"{blocks}.{block}.attn.q_norm.weight")
    return next((width // found[name].shape[-1] for name in names if name in found), UNTOLD)


def grid_of(found: State, rope: str, patch_size: int) -> int:
    """Return the latent positions per side, by the rows of a table."""
    tokens = (("pos_embed", 1), (f"{rope}.freqs_cos", 0))
    counts = [found[name].shape[dim] for name, dim in tokens if name in found]
    return math.isqrt(counts[0]) * patch_size if counts else UNTOLD


def label_sizes(found: State) -> dict[str, Any]:
    """Return what the label table and the frequencies tell; the table's last row is the null label."""
    frequencies = found.get("t_embedder.W")
    return {
        "num_classes": found["y_embedder.embedding_table.weight"].shape[0] - 1,
        "guidable": True,
        "time": "sinusoid" if frequencies is None else "fourier",
        "num_frequencies": None if frequencies is None else len(frequencies),
    }


def body_sizes(found: State, embed: str, rope: str) -> dict[str, Any]:
    """Return the sizes of a body with class labels; of a wide head's file, those of the base.

    Args:
        embed: published name of the embedding of the latents.
        rope: published name of the rotary table.
    """
    width, channels, patch_size, _ = found[f"{embed}.proj.weight"].shape
    return {
        "channels": channels,
        "width": width,
        "heads": heads_of(found, width, rope, 0),
        "condition_width": found["t_embedder.mlp.2.weight"].shape[0],
        "grid": grid_of(found, rope, patch_size),
        "mlp_width": mlp_width(found, 0),
        "patch_size": patch_size,
        **label_sizes(found),
        **block_sizes(found),
        "positions": "pos_embed" in found,
        "rope": f"{rope}.freqs_cos" in found,
        "learn_sigma": found["final_layer.linear.weight"].shape[0] == 2 * channels * patch_size**2,
    }


def completed(name: str, told: Sizes, known: Sizes) -> dict[str, Any]:
    """Return the sizes that tensors tell, with what the caller knows over them.

    Raises:
        ValueError: sizes that neither tells, or a known name that is none of them.
    """
    strangers = known.keys() - told.keys()
    if strangers:
        raise ValueError(
            f"{name}: expected sizes named {', '.join(told)}; got {', '.join(sorted(strangers))}"
        )
    sizes = {**told, **known}
    untold = [key for key, value in sizes.items() if value is UNTOLD]
    if untold:
        raise ValueError(
            f"{name}: the tensors do not tell {' and '.join(untold)}; give them, as in {untold[0]}=..."
        )
    return sizes
