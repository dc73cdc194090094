"""The visual vocabulary: pixels to latents, their statistics, and back to pixels.

Three names for three things: pixels are float in [0, 1]; raw latents are what the encoder returns and
the decoder takes; latents (no adjective) are normalised by the data set's statistics.
"""

from unimm.latents.autoencoder import LATENT_SPACES, RAE, RAEConfig, build_latent_space, latent_space
from unimm.latents.decoder import (
    DECODERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DecoderConfig,
    RAEDecoder,
    decoder_config,
)
from unimm.latents.encoder import ENCODERS, Encoder, EncoderConfig, SiglipEncoder, build_encoder
from unimm.latents.encoders.presets import encoder_preset
from unimm.latents.encoders.published import load_encoder
from unimm.latents.pixels import load_image, resize_pixels, to_images, to_pixels
from unimm.latents.statistics import LatentStatistics, Welford
from unimm.latents.targets import Target, TargetConfig, load_target, target_config

__all__ = [
    "DECODERS",
    "ENCODERS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LATENT_SPACES",
    "RAE",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "LatentStatistics",
    "RAEConfig",
    "RAEDecoder",
    "SiglipEncoder",
    "Target",
    "TargetConfig",
    "Welford",
    "build_encoder",
    "build_latent_space",
    "decoder_config",
    "latent_space",
    "encoder_preset",
    "load_encoder",
    "load_image",
    "load_target",
    "resize_pixels",
    "target_config",
    "to_images",
    "to_pixels",
]
