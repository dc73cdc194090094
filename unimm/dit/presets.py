"""Published sizes by name: (kind of BODIES, config)."""

from __future__ import annotations

from typing import Any

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.mmdit_config import MMDiTConfig, depth_sizes
from unimm.dit.sit import SiTConfig
from unimm.tables import pick

Preset = tuple[str, Any]

IMAGENET = {"num_classes": 1000, "grid": 16}


def rae(width: int, depth: int, heads: int, grid: int = 16) -> dict[str, Any]:
    """Return what RAE's networks share: 768 channels, label conditions, time frequencies of their own."""
    sizes = {"width": width, "depth": depth, "heads": heads, "condition_width": width}
    return {**IMAGENET, "channels": 768, **sizes, "grid": grid, "num_frequencies": 256}


def lightning(width: int, depth: int, heads: int) -> DiTConfig:
    """Return a LightningDiT on VA-VAE's 32 channels."""
    return DiTConfig(
        **IMAGENET, channels=32, width=width, depth=depth, heads=heads, condition_width=width,
        time="sinusoid", time_reversed=True, condition_activations=1,
    )  # fmt: skip


def scale_rae(width: int, depth: int) -> DiTConfig:
    """Return a DiT of Scale-RAE on SigLIP-2's 1152 channels; the connector gives a vector per token."""
    return DiTConfig(channels=1152, width=width, depth=depth, heads=32, condition_width=width, grid=16)


def scale_rae_wide(width: int, depth: int) -> DDTConfig:
    """Return the same with a wide head; the paper does not say how many heads, 16 divide its width."""
    return DDTConfig(
        channels=1152, width=width, depth=depth, heads=32, condition_width=width, grid=16,
        head_width=2688, head_depth=2, head_heads=16, bridge="plain",
    )  # fmt: skip


def sit(width: int, depth: int, heads: int, grid: int = 32) -> SiTConfig:
    """Return a SiT on Stable Diffusion's 4 channels in 2 x 2 patches, in REPA's direction of time."""
    return SiTConfig(channels=4, width=width, depth=depth, heads=heads, condition_width=width, grid=grid)


def mmdit(depth: int, grid: int = 32, **options: Any) -> MMDiTConfig:
    """Return an MM-DiT on SD3's 16 channels in 2 x 2 patches, told by CLIP-L, bigG and T5-XXL."""
    return MMDiTConfig(
        channels=16, grid=grid, patch_size=2, sequence_width=4096, pooled_width=2048,
        **depth_sizes(depth), **options,
    )  # fmt: skip


RAE_SIZES = {
    # name: width, depth, heads (RAE, arXiv 2510.11690)
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
    "XXL": (1280, 32, 16),
    "H": (1536, 32, 16),
    "G": (2048, 40, 16),
    "T": (2688, 40, 21),
}
LIGHTNING_SIZES = {
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
    "1p0B": (1536, 24, 24),
    "1p6B": (1792, 28, 28),
}
SIT_SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
SCALE_RAE_SIZES = {
    "0.5B": (1280, 16),
    "2.4B": (2048, 32),
    "3.1B": (2304, 32),
    "5.5B": (3072, 32),
    "9.8B": (4096, 32),
}

SD3_PUBLISHED = {
    # the position tables are in the checkpoints
    "SD3-medium": mmdit(24, 128, max_grid=384, positions="stored"),
    "SD3.5-medium": mmdit(
        24, 128, max_grid=768, positions="stored", qk_norm=True, dual_blocks=tuple(range(13))
    ),
    "SD3.5-large": mmdit(38, 128, max_grid=384, positions="stored", qk_norm=True),
}

PRESETS: dict[str, Preset] = {
    **{f"DiT^DH-{name}": ("ddt", DDTConfig(**rae(*sizes))) for name, sizes in RAE_SIZES.items()},
    "DiT^DH-XL 512": ("ddt", DDTConfig(**rae(*RAE_SIZES["XL"], grid=32))),
    "DiT^DH-S 512": ("ddt", DDTConfig(**rae(*RAE_SIZES["S"], grid=32))),
    **{
        f"RAE DiT-{name}": ("lightning", DiTConfig(**rae(*sizes), condition_activations=1))
        for name, sizes in RAE_SIZES.items()
    },
    **{f"LightningDiT-{name}": ("lightning", lightning(*sizes)) for name, sizes in LIGHTNING_SIZES.items()},
    **{f"SiT-{name}/2": ("sit", sit(*sizes)) for name, sizes in SIT_SIZES.items()},
    "SiT-XL/2 512": ("sit", sit(*SIT_SIZES["XL"], grid=64)),
    **{f"Scale-RAE {name}": ("lightning", scale_rae(*sizes)) for name, sizes in SCALE_RAE_SIZES.items()},
    **{
        f"Scale-RAE {name} wide head": ("ddt", scale_rae_wide(*SCALE_RAE_SIZES[name]))
        for name in ("0.5B", "2.4B", "3.1B")
    },
    **{f"MM-DiT d={depth}": ("mmdit", mmdit(depth)) for depth in (15, 18, 24, 30, 38)},
    **{name: ("mmdit", config) for name, config in SD3_PUBLISHED.items()},
}
"""All have the null label or null condition that guidance needs; an MM-DiT needs none, the null is an empty
text. "MM-DiT d=..." is the paper's first stage, at 256 pixels."""


def preset(name: str) -> Preset:
    """Return (kind, config) of a published size.

    Raises:
        ValueError: no such name; the nearest is suggested.
    """
    return pick("preset", name, PRESETS)
