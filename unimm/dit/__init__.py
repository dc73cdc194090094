"""Diffusion transformers: velocity networks over latent tokens. No noise is drawn here and no loss known."""

from unimm.dit.bodies import BODIES, body_classes
from unimm.dit.bound import output_width, refuse_narrow, width_bound
from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.ddt import DDT
from unimm.dit.lightning import LightningDiT
from unimm.dit.mmdit import MMDiT, MMDiTConfig, TextConditions
from unimm.dit.padding import pad_swiglu, padded
from unimm.dit.presets import PRESETS, preset

__all__ = [
    "BODIES",
    "DDT",
    "PRESETS",
    "DDTConfig",
    "DiTConfig",
    "LightningDiT",
    "MMDiT",
    "MMDiTConfig",
    "TextConditions",
    "body_classes",
    "output_width",
    "pad_swiglu",
    "padded",
    "preset",
    "refuse_narrow",
    "width_bound",
]
