"""The published names of LightningDiT (VA-VAE's generator, and the variant inside RAE), and its statistics.

LightningDiT's files call t = 0 noise, so the velocity's sign is turned in the final projection and the
body feeds 1 - t. RAE's variant has the same names, random time frequencies in its file and t = 1 as noise.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unimm.weights.folder import refuse
from unimm.weights.keymap import KeyMap, State
from unimm.weights.modulated import (
    Sizes,
    block_rows,
    block_widths,
    body_sizes,
    completed,
    label_rows,
    outer_rows,
    refuse_untold,
    rope_rows,
    under,
)

NAME = "LightningDiT"


def lightningdit_map(sizes: Sizes) -> KeyMap:
    """Return the names of a LightningDiT of these sizes, as `lightningdit_sizes` gives them."""
    rows = (
        outer_rows(sizes, "x_embedder"),
        label_rows(sizes),
        block_rows(sizes),
        rope_rows("rope", "feat_rope"),
    )
    return KeyMap(NAME, tuple(row for part in rows for row in part))


def lightningdit_sizes(theirs: State, prefix: str = "", **known: Any) -> dict[str, Any]:
    """Return the sizes of a published LightningDiT, named as in DiTConfig, read from its tensors.

    Args:
        theirs: a flat state dict, see `unwrapped`.
        prefix: what stands before the names.
        known: sizes that tensors do not tell: `heads` where there is neither a rotary table nor a norm
            of the heads.

    Raises:
        ValueError: a tensor that tells a size is absent, or a size is neither told nor known.
    """
    found = under(theirs, prefix)
    refuse_untold(NAME, found, "x_embedder", prefix=prefix)
    told = body_sizes(found, "x_embedder", "feat_rope")
    sizes = told | {
        "depth": len(block_widths(found)),
        "time_reversed": told["time"] == "sinusoid",
        "condition_activations": 1,
    }
    return completed(NAME, sizes, known)


def read_latent_statistics(theirs: State) -> dict[str, Tensor]:
    """Return per-channel `mean` and `std` [C] of a latents_stats.pt, which holds them as [1 C 1 1].

    Raises:
        ValueError: names missing or unexpected, or another shape.
    """
    names = {"mean", "std"}
    refuse("latents_stats", missing=names - theirs.keys(), unexpected=theirs.keys() - names)
    for name in sorted(names):
        if [theirs[name].dim(), theirs[name].shape[0], *theirs[name].shape[2:]] != [4, 1, 1, 1]:
            raise ValueError(f"latents_stats: expected {name} [1 C 1 1], got {list(theirs[name].shape)}")
    return {name: theirs[name].flatten() for name in ("mean", "std")}


def write_latent_statistics(ours: State) -> dict[str, Tensor]:
    """Return `mean` and `std` [C] in the layout of a latents_stats.pt, [1 C 1 1]."""
    return {name: ours[name][None, :, None, None] for name in ("mean", "std")}
