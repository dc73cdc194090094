"""Diffusion transformers: velocity networks over latent tokens. No noise is drawn here and no loss known."""

from unimm.dit.lightning import DiTConfig, LightningDiT

__all__ = ["DiTConfig", "LightningDiT"]
