"""The published names of Scale-RAE's diffusion transformer with a head, in both of its forms.

Sizes given as lists make a head of any width with a rotary table of its own (`enc_rope`, `dec_rope`);
`use_DDT` makes one as wide as the base that shares its table (`feat_rope`). Neither has a published
checkpoint in full size.
"""

from __future__ import annotations

from typing import Any

from unimm.weights.folder import refuse
from unimm.weights.keymap import Entry, KeyMap, State, layer
from unimm.weights.modulated import (
    UNTOLD,
    Sizes,
    block_rows,
    block_widths,
    bridge_rows,
    completed,
    grid_of,
    heads_of,
    mlp_width,
    outer_rows,
    rope_rows,
    under,
)

NAME = "Scale-RAE DDT"
BLOCKS = "dit_blocks"
TELLING = (
    "x_embedder.proj.weight",
    "s_embedder.proj.weight",
    "t_embedder.mlp.2.weight",
    "dit_blocks.0.attn.qkv.weight",
    "dit_blocks.0.adaLN_modulation.1.weight",
)
VARIANTS = {"norm": "rms", "mlp": "swiglu", "qk_norm": False, "patch_size": 1, "time_reversed": False}
"""Of Scale-RAE's blocks; its scripts never change them."""


def ddt_map(sizes: Sizes, rope: str = "enc_rope") -> KeyMap:
    """Return the names of a Scale-RAE DDT of these sizes, as `ddt_sizes` gives them.

    Args:
        sizes: values of a DDTConfig by the names of its fields.
        rope: published name of the base's rotary table: "enc_rope" or "feat_rope".
    """
    sizes = {**sizes, **VARIANTS}
    rows = (
        outer_rows(sizes, "x_embedder"),
        (Entry("null_condition", ("y_embedder.dropout_embedding",), optional=True),),
        layer("head_embed", "s_embedder.proj", form="pointwise"),
        bridge_rows(sizes),
        block_rows(sizes, BLOCKS),
        rope_rows("rope", rope),
        rope_rows("head_rope", "dec_rope"),
    )
    return KeyMap(NAME, tuple(row for part in rows for row in part))


def ddt_sizes(theirs: State, prefix: str = "", **known: Any) -> dict[str, Any]:
    """Return the sizes of a published DDT, named as in DDTConfig, read from its tensors.

    Args:
        theirs: a flat state dict.
        prefix: what stands before the names.
        known: `depth` of the base, where base, head and conditions are equally wide.

    Raises:
        ValueError: a tensor that tells a size is absent, or a size is neither told nor known.
    """
    found = under(theirs, prefix)
    refuse(NAME, missing=[prefix + name for name in TELLING if name not in found])
    rope = next((name for name in ("enc_rope", "feat_rope") if f"{name}.freqs_cos" in found), "enc_rope")
    head_rope = "dec_rope" if "dec_rope.freqs_cos" in found else rope
    width, channels = found["x_embedder.proj.weight"].shape[:2]
    head, last = found["s_embedder.proj.weight"].shape[0], len(block_widths(found, BLOCKS)) - 1
    depth = known.get("depth", base_depth(found))
    sizes = {
        "channels": channels,
        "width": width,
        "depth": depth,
        "heads": heads_of(found, width, rope, 0, BLOCKS),
        "condition_width": found["t_embedder.mlp.2.weight"].shape[0],
        "grid": grid_of(found, rope, VARIANTS["patch_size"]),
        "mlp_width": mlp_width(found, 0, BLOCKS),
        "guidable": "y_embedder.dropout_embedding" in found,
        "head_width": head,
        "head_depth": UNTOLD if depth is UNTOLD else last + 1 - depth,
        "head_heads": heads_of(found, head, head_rope, last, BLOCKS),
        "head_mlp_width": mlp_width(found, last, BLOCKS),
        "bridge": "plain",
    }
    return completed(NAME, sizes, known)


def base_depth(found: State) -> int:
    """Return how many blocks are conditioned by what conditions the first; untold where that is all."""
    shapes = [
        found[name].shape
        for i in range(len(block_widths(found, BLOCKS)))
        if (name := f"{BLOCKS}.{i}.adaLN_modulation.1.weight") in found
    ]
    alike = shapes.count(shapes[0])
    return UNTOLD if alike == len(shapes) else alike
