"""The published names of DiT^DH, RAE's diffusion transformer with a wide head.

One list holds the blocks of base and head. `s_embedder` embeds the latents for the base and
`x_embedder` for the head. The rotary tables are stored; they come back apart, to be checked.
"""

from __future__ import annotations

from typing import Any

from unimm.weights.keymap import KeyMap, State, convolution, layer
from unimm.weights.modulated import (
    UNTOLD,
    Sizes,
    block_rows,
    block_widths,
    body_sizes,
    bridge_rows,
    completed,
    heads_of,
    label_rows,
    mlp_width,
    outer_rows,
    refuse_untold,
    rope_rows,
    under,
)

NAME = "DiT^DH"


def ditdh_map(sizes: Sizes) -> KeyMap:
    """Return the names of a DiT^DH of these sizes, as `ditdh_sizes` gives them or a DDTConfig has them."""
    rows = (
        outer_rows(sizes, "s_embedder"),
        label_rows(sizes),
        layer("head_embed", "x_embedder.proj", form=convolution(sizes["patch_size"])),
        bridge_rows(sizes),
        block_rows(sizes),
        rope_rows("rope", "enc_feat_rope"),
        rope_rows("head_rope", "dec_feat_rope"),
    )
    return KeyMap(NAME, tuple(row for part in rows for row in part))


def ditdh_sizes(theirs: State, prefix: str = "", **known: Any) -> dict[str, Any]:
    """Return the sizes of a published DiT^DH, named as in DDTConfig, read from its tensors.

    Args:
        theirs: a flat state dict, see `unwrapped`.
        prefix: what stands before the names.
        known: sizes that tensors do not tell: `depth` of the base where base and head are equally
            wide, `heads` and `head_heads` where there is no rotary table.

    Raises:
        ValueError: a tensor that tells a size is absent, or a size is neither told nor known.
    """
    found = under(theirs, prefix)
    refuse_untold(NAME, found, "s_embedder", "x_embedder", prefix=prefix)
    told = body_sizes(found, "s_embedder", "enc_feat_rope")
    head, widths = found["x_embedder.proj.weight"].shape[0], block_widths(found)
    depth = known.get("depth", UNTOLD if told["width"] == head else widths.count(told["width"]))
    sizes = told | {
        "depth": depth,
        "time_reversed": False,
        "head_width": head,
        "head_depth": UNTOLD if depth is UNTOLD else len(widths) - depth,
        "head_heads": heads_of(found, head, "dec_feat_rope", len(widths) - 1),
        "head_mlp_width": mlp_width(found, len(widths) - 1),
    }
    return completed(NAME, sizes, known)
