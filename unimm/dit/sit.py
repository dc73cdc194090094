"""The DiT and SiT network over latents in 2 x 2 patches, by class (Peebles & Xie 2023; Ma et al. 2024).

It is the plain member of LightningDiT's family: norms without weights, a GELU MLP, a fixed sine table for
places, sinusoids for time, one SiLU of time plus label. REPA reads its hidden states with `features`.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimm.dit.config import DiTConfig
from unimm.dit.lightning import LightningDiT


@dataclass(frozen=True)
class SiTConfig(DiTConfig):
    """Sizes of a SiT. Published XL/2: widths 1152, depth 28, heads 16, channels 4, grid 32.

    REPA's files count time as we do. The original SiT's are time_reversed with learn_sigma; the original
    DiT's have learn_sigma and time_scale 999, and put out noise instead of velocity.
    """

    patch_size: int = 2
    num_classes: int | None = 1000
    norm: str = "layer"
    mlp: str = "gelu"
    rope: bool = False
    time: str = "sinusoid"
    condition_activations: int = 1


class SiT(LightningDiT):
    """The velocity of noisy VAE latents [B N C], N = grid * grid in reading order, given labels [B]."""
