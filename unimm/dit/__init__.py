"""Diffusion transformers: velocity networks over latent tokens. No noise is drawn here and no loss known."""

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.ddt import DDT
from unimm.dit.lightning import LightningDiT

__all__ = ["DDT", "DDTConfig", "DiTConfig", "LightningDiT"]
