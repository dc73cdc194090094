"""The visual vocabulary: pixels to latents, their statistics, and back to pixels.

Three names for three things: pixels are float in [0, 1]; raw latents are what the encoder returns and
the decoder takes; latents (no adjective) are normalised by the data set's statistics.
"""

from unimm.latents.decoder import (
    DECODERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DecoderConfig,
    RAEDecoder,
    decoder_config,
)
from unimm.latents.encoder import ENCODERS, EncoderConfig, SiglipEncoder, build_encoder
from unimm.latents.pixels import load_image, resize_pixels, to_images, to_pixels
from unimm.latents.statistics import LatentStatistics, Welford

__all__ = [
    "DECODERS",
    "ENCODERS",
    "DecoderConfig",
    "EncoderConfig",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LatentStatistics",
    "RAEDecoder",
    "SiglipEncoder",
    "Welford",
    "build_encoder",
    "decoder_config",
    "load_image",
    "resize_pixels",
    "to_images",
    "to_pixels",
]
