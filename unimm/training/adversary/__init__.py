"""The adversary of the decoder stage (Zheng et al. 2025): a discriminator on frozen DINO features.

Exact parts, after Sauer et al. 2023 (StyleGAN-T) and Esser et al. 2021 (the adaptive weight): the
discriminator, the augmentation it sees pictures through, and the losses of both sides.
"""

from unimm.training.adversary.augment import AugmentConfig, augment, diff_augment
from unimm.training.adversary.discriminator import Discriminator, DiscriminatorConfig
from unimm.training.adversary.losses import adaptive_weight, generator_loss, hinge_loss, vanilla_loss

__all__ = [
    "AugmentConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "adaptive_weight",
    "augment",
    "diff_augment",
    "generator_loss",
    "hinge_loss",
    "vanilla_loss",
]
