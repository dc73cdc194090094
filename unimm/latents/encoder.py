"""Encoders: pixels to raw latents. One table of kinds."""

from __future__ import annotations

from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.dinov2 import Dinov2Encoder, WebSSLEncoder
from unimm.latents.encoders.mae import MAEEncoder
from unimm.latents.encoders.siglip import SiglipEncoder
from unimm.latents.encoders.tower import Encoder
from unimm.tables import pick

__all__ = [
    "ENCODERS",
    "Dinov2Encoder",
    "Encoder",
    "EncoderConfig",
    "MAEEncoder",
    "SiglipEncoder",
    "WebSSLEncoder",
    "build_encoder",
    "encoder_class",
]

ENCODERS: dict[str, type[Encoder]] = {
    "siglip2": SiglipEncoder,
    "dinov2reg": Dinov2Encoder,
    "mae": MAEEncoder,
    "webssl": WebSSLEncoder,
}
"""Encoder classes by kind; each takes an EncoderConfig and has `encode(pixels) -> raw latents`."""


def build_encoder(config: EncoderConfig) -> Encoder:
    """Build the encoder that config.kind names, with random weights.

    Raises:
        ValueError: an unknown kind; the message suggests the nearest one.
    """
    return encoder_class(config.kind)(config)


def encoder_class(kind: str) -> type[Encoder]:
    """Return the class of a kind.

    Raises:
        ValueError: an unknown kind; the message suggests the nearest one.
    """
    return pick("encoder.kind", kind, ENCODERS)
