"""The config.json of diffusers' SD3Transformer2DModel, and the sizes of our MM-DiT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASS = "SD3Transformer2DModel"
OURS = {
    "sample_size": "grid",
    "patch_size": "patch_size",
    "in_channels": "channels",
    "num_layers": "depth",
    "num_attention_heads": "heads",
    "joint_attention_dim": "sequence_width",
    "pooled_projection_dim": "pooled_width",
}
"""What means the same under another name."""
DERIVED = ("attention_head_dim", "caption_projection_dim", "out_channels", "pos_embed_max_size")
LATER = {"dual_attention_layers": (), "qk_norm": None}
"""Absent from SD3-medium's file, and what it means then."""


def mmdit_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes, named as in MMDiTConfig, that a diffusers config tells.

    The position table is the checkpoint's own ("stored"): the published ones differ from what diffusers
    computes.

    Raises:
        ValueError: another class, names that are missing or unknown, or a variant that no published SD3 has:
            other widths for text than for the image, more or fewer channels out than in, another norm of
            q and k.
    """
    values = {name: value for name, value in config.items() if not name.startswith("_")}
    _refuse_names(config.get("_class_name", CLASS), values)
    values = LATER | values
    width = values["num_attention_heads"] * values["attention_head_dim"]
    for name, expected in (
        ("caption_projection_dim", (width,)),
        ("out_channels", (values["in_channels"], None)),
        ("qk_norm", (None, "rms_norm")),
    ):
        if values[name] not in expected:
            wanted = " or ".join(repr(value) for value in expected)
            raise ValueError(f"config.{name}: expected {wanted}, got {values[name]!r}")
    return {ours: values[theirs] for theirs, ours in OURS.items()} | {
        "width": width,
        "qk_norm": values["qk_norm"] is not None,
        "dual_blocks": tuple(values["dual_attention_layers"]),
        "max_grid": values["pos_embed_max_size"] * values["patch_size"],
        "positions": "stored",
    }


def to_diffusers_config(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the diffusers config of sizes named as in MMDiTConfig (`dataclasses.asdict` of one will do).

    Which rule made the position table is not told there; the table itself is in the weights.

    Raises:
        ValueError: an MLP width that diffusers cannot build.
    """
    width, mlp_width = sizes["width"], sizes.get("mlp_width")
    if mlp_width not in (None, 4 * width):
        raise ValueError(f"mlp_width: expected 4 W = {4 * width}, the only one in diffusers, got {mlp_width}")
    return {theirs: sizes[ours] for theirs, ours in OURS.items()} | {
        "_class_name": CLASS,
        "attention_head_dim": width // sizes["heads"],
        "caption_projection_dim": width,
        "out_channels": sizes["channels"],
        "pos_embed_max_size": (sizes.get("max_grid") or sizes["grid"]) // sizes["patch_size"],
        "dual_attention_layers": list(sizes.get("dual_blocks", ())),
        "qk_norm": "rms_norm" if sizes.get("qk_norm") else None,
    }


def _refuse_names(class_name: str, values: Mapping[str, Any]) -> None:
    if class_name != CLASS:
        raise ValueError(f"config._class_name: expected {CLASS}, got {class_name}")
    needed = {*OURS, *DERIVED}
    missing, unknown = sorted(needed - values.keys()), sorted(values.keys() - needed - LATER.keys())
    if missing or unknown:
        listed = [
            f"{kind}: {', '.join(names)}"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ValueError(f"config: not one of an {CLASS}; " + "; ".join(listed))
