"""Published encoders: their sizes by name."""

from __future__ import annotations

from dataclasses import dataclass

from unimm.latents.decoder import IMAGENET_MEAN, IMAGENET_STD
from unimm.latents.encoders.config import EncoderConfig
from unimm.tables import pick

COLOURS = {
    "siglip2": {"pixel_mean": 0.5, "pixel_std": 0.5},
    **dict.fromkeys(("dinov2reg", "mae", "webssl"), {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD}),
}
"""What the published encoders of each kind take pixels as."""


@dataclass(frozen=True)
class Preset:
    """A published encoder; its latents have config.width channels."""

    hub_id: str
    config: EncoderConfig


def _dinov2(width: int, depth: int, heads: int) -> EncoderConfig:
    return EncoderConfig(
        224, 14, width, depth, heads, 4 * width, "dinov2reg", native_size=518, registers=4, resize="bicubic",
        **COLOURS["dinov2reg"],
    )  # fmt: skip


PRESETS = {
    "siglip2-base": Preset(
        "google/siglip2-base-patch16-256", EncoderConfig(256, 16, 768, 12, 12, 3072, resize="bicubic")
    ),
    "siglip2-so400m": Preset("google/siglip2-so400m-patch14-224", EncoderConfig(224, 14, 1152, 27, 16, 4304)),
    "dinov2reg-small": Preset("facebook/dinov2-with-registers-small", _dinov2(384, 12, 6)),
    "dinov2reg-base": Preset("facebook/dinov2-with-registers-base", _dinov2(768, 12, 12)),
    "dinov2reg-large": Preset("facebook/dinov2-with-registers-large", _dinov2(1024, 24, 16)),
    "mae-base": Preset(
        "facebook/vit-mae-base",
        EncoderConfig(
            256,
            16,
            768,
            12,
            12,
            3072,
            "mae",
            native_size=224,
            norm_eps=1e-12,
            resize="bicubic",
            **COLOURS["mae"],
        ),
    ),
    "webssl-300m": Preset(
        "facebook/webssl-dino300m-full2b-224",
        EncoderConfig(224, 14, 1024, 24, 16, 4096, "webssl", **COLOURS["webssl"]),
    ),
}
"""The encoders of RAE (arXiv 2510.11690), which resize pixels, and of Scale-RAE (arXiv 2601.16208), whose
pixels come resized: So400m and WebSSL. For pictures of 512 DINOv2 has image_size 448."""


def encoder_preset(name: str) -> Preset:
    """Return a published encoder by its name in PRESETS.

    Raises:
        ValueError: an unknown name; the message suggests the nearest one.
    """
    return pick("encoder preset", name, PRESETS)
