"""The published Scale-RAE models by their sizes, to say in what a folder differs from them.

From the paper (Tong et al. 2026, arXiv 2601.16208, table 10) and Qwen2.5's own configs; of the files on the
hub nothing was read for this table, so a difference is news, not an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QWEN_1_5B = {
    "llm.vocab_size": 151667, "llm.width": 1536, "llm.depth": 28, "llm.heads": 12, "llm.key_value_heads": 2,
    "llm.mlp_width": 8960, "llm.tied_embeddings": True,
}  # fmt: skip
QWEN_7B = {
    "llm.vocab_size": 151667, "llm.width": 3584, "llm.depth": 28, "llm.heads": 28, "llm.key_value_heads": 4,
    "llm.mlp_width": 18944, "llm.tied_embeddings": False,
}  # fmt: skip
SHARED = {
    "llm.rope_theta": 1e6, "llm.norm_eps": 1e-6, "num_queries": 256, "connector_depth": 1,
    "projector_depth": 2, "shift_base": 4096, "body": "lightning", "dit.grid": 16, "dit.heads": 32,
    "dit.depth": 32,
}  # fmt: skip


def _dit(width: int, channels: int) -> dict[str, Any]:
    return {
        "dit.width": width,
        "dit.condition_width": width,
        "dit.mlp_width": int(2 / 3 * 4 * width),
        "dit.channels": channels,
        "seen_channels": channels,
    }


MODELS: dict[str, dict[str, Any]] = {
    "nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B": SHARED | QWEN_1_5B | _dit(2048, 1152),
    "nyu-visionx/Scale-RAE-Qwen7B_DiT9.8B": SHARED | QWEN_7B | _dit(4096, 1152),
    "nyu-visionx/Scale-RAE-Qwen1.5B_DiT2.4B-WebSSL": SHARED | QWEN_1_5B | _dit(2048, 1024),
}
DECODERS: dict[str, dict[str, Any]] = {
    f"nyu-visionx/{name}": {
        "channels": channels, "width": 1152, "depth": 28, "heads": 16, "mlp_width": 4096, "patch_size": 14,
        "grid": 16, "norm_eps": 1e-12,
    }
    for name, channels in (("siglip2_decoder", 1152), ("webssl300m_decoder", 1024))
}  # fmt: skip


def flat(sizes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sizes under dotted names."""
    found = {}
    for name, value in sizes.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def differences(sizes: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return the row of a table that sizes are nearest to, and in what they differ from it."""
    found = flat(sizes)
    rows = {
        name: [
            f"{key}: {wanted} in the table, {found[key]} here"
            for key, wanted in row.items()
            if key in found and found[key] != wanted
        ]
        for name, row in table.items()
    }
    nearest = min(rows, key=lambda name: len(rows[name]))
    return nearest, rows[nearest]
