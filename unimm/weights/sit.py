"""The published names of DiT, SiT and REPA, which share one network.

    layout   files                      time fed to the network        output
    repa     REPA: SiT + projectors     t, 1 is noise                  velocity e - x
    sit      SiT-XL/2 (Ma et al.)       1 - t                          x - e, twice the channels
    dit      DiT-XL/2 (Peebles & Xie)   999 t, t = step / 999          noise e, twice the channels

Where a file counts time from noise to data, the config says so (`time_reversed`) and the final projection
changes its sign here, which is exact. A DiT was trained on the 1000 steps of a variance-preserving chain,
betas linear from 1e-4 to 0.02, and its output is the noise: it gives a velocity by way of
`unimm.flow.ddpm`, not by itself. Of twice the channels the first half is used.

Files of REPA are a bare state dict (`last.pt`, the averaged weights) or a training checkpoint of which
`unwrapped(checkpoint, "ema")` takes the averaged weights; the latter also pickles its arguments, which a
reader of weights only refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unimm.shapes import sincos_table
from unimm.tables import pick
from unimm.weights.folder import check_tables, refuse
from unimm.weights.keymap import KeyMap, State, layer, num_layers
from unimm.weights.modulated import (
    UNTOLD,
    Sizes,
    block_rows,
    block_widths,
    body_sizes,
    completed,
    label_rows,
    outer_rows,
    refuse_untold,
    under,
)

PUBLISHED_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
"""Attention heads by width (S, B, L, XL): no tensor tells them."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "repa": {"time_reversed": False, "time_scale": 1.0},
    "sit": {"time_reversed": True, "time_scale": 1.0},
    "dit": {"time_reversed": False, "time_scale": 999.0},
}
"""What the tensors do not tell, by whose file it is."""

PROJECTORS = KeyMap(
    "REPA projectors",
    (
        *layer("heads.{i}.first", "{i}.0"),
        *layer("heads.{i}.second", "{i}.2"),
        *layer("heads.{i}.out", "{i}.4"),
    ),
)
"""One projector for each target encoder; in REPA's files under the prefix "projectors."."""

PREFIX = "projectors."


@dataclass(frozen=True)
class SitFile:
    """A published file under our names."""

    sizes: dict[str, Any]
    """Values of SiTConfig."""
    parameters: dict[str, Tensor]
    """Of the body."""
    projectors: dict[str, Tensor]
    """Of `unimm.alignment.Projectors`; empty where the file has none."""


def read_sit(theirs: State, layout: str, **known: Any) -> SitFile:
    """Return the network of a published file.

    Args:
        theirs: a flat state dict; see `unwrapped` for training checkpoints. Names of REPA's oldest files
            are understood too.
        layout: a row of LAYOUTS. The tensors of "sit" and "dit" look alike: only their source tells.
        known: sizes that tensors do not tell: `heads`, where the width is not a published one.

    Raises:
        ValueError: missing or unexpected names, all listed; an unknown layout; sizes that do not fit
            together; or a position table that is not the one we compute.
    """
    theirs = modern_names(theirs)
    sizes = sit_sizes(theirs, layout, **known)
    projectors = under(theirs, PREFIX)
    if layout != "repa":
        refuse(f"{layout} file", unexpected=[PREFIX + name for name in projectors])
    parameters, tables = sit_map(sizes).read(theirs)
    positions = sincos_table(sizes["grid"] // sizes["patch_size"], sizes["width"])
    check_tables({"positions": positions}, tables, f"{layout} file")
    return SitFile(sizes, parameters, PROJECTORS.read(theirs, PREFIX)[0] if projectors else {})


def write_sit(file: SitFile) -> dict[str, Tensor]:
    """Return the published names of a file, position table included: the inverse of `read_sit`.

    Raises:
        ValueError: missing or unexpected names, all listed.
    """
    sizes = file.sizes
    positions = sincos_table(sizes["grid"] // sizes["patch_size"], sizes["width"])
    theirs = sit_map(sizes).write({**file.parameters, "positions": positions})
    return theirs | (PROJECTORS.write(file.projectors, PREFIX) if file.projectors else {})


def sit_map(sizes: Sizes) -> KeyMap:
    """Return the names of a body of these sizes, as `sit_sizes` gives them."""
    rows = (*outer_rows(sizes, "x_embedder"), *label_rows(sizes), *block_rows(sizes))
    return KeyMap("SiT", rows, unused=(re.escape(PREFIX) + ".*",))


def sit_sizes(theirs: State, layout: str, **known: Any) -> dict[str, Any]:
    """Return the sizes of a published file, named as in SiTConfig, read from its tensors.

    Arguments and errors are those of `read_sit`.
    """
    refuse_untold("SiT", theirs, "x_embedder")
    told = body_sizes(theirs, "x_embedder", "feat_rope")
    outputs = theirs["final_layer.linear.weight"].shape[0] // told["patch_size"] ** 2
    if layout == "repa" and told["learn_sigma"]:
        raise ValueError(
            f"layout: files of 'repa' put out {told['channels']} channels, this one {outputs}; is it 'sit' "
            "or 'dit'? They count time the other way round, or in steps"
        )
    if told["heads"] is UNTOLD:
        told["heads"] = PUBLISHED_HEADS.get(told["width"], UNTOLD)
    sizes = told | _layout(layout) | {"depth": len(block_widths(theirs)), "condition_activations": 1}
    return completed("SiT", sizes, known)


def modern_names(theirs: State) -> dict[str, Tensor]:
    """Return REPA's oldest files under its later names: `decoder_blocks.K` counts on from `blocks`."""
    first = num_layers(theirs, "blocks.")
    renamed = {}
    for name, x in theirs.items():
        found = re.fullmatch(r"decoder_blocks\.(\d+)\.(.+)", name)
        renamed[f"blocks.{first + int(found[1])}.{found[2]}" if found else name] = x
    return renamed


def _layout(layout: str) -> dict[str, Any]:
    return pick("layout", layout, LAYOUTS)
