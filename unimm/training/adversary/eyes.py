"""What a discriminator looks through: DINO with its published weights, or, named so, an encoder's blocks."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from unimm.files import expect_sha256, read_tensors
from unimm.latents.decoder import colours
from unimm.latents.encoders.maps import block_tokens, expect_maps
from unimm.latents.encoders.tower import Encoder
from unimm.training.adversary.discriminator import Discriminator, DiscriminatorConfig
from unimm.training.adversary.published import BACKBONE
from unimm.weights.folder import load_strictly

MIN_DIGITS = 8
"""Of a sha256, as torch puts so many into the names of its files."""


def dino_discriminator(weights: str, sha256: str, sizes: DiscriminatorConfig) -> Discriminator:
    """Return a discriminator with DINO's published weights, frozen, and fresh heads; nothing is fetched.

    Args:
        weights: the file, such as dino_vit_small_patch8_224.pth, with timm's names.
        sha256: the first digits of the file's sha256, 8 or more, as whoever published it tells.
        sizes: of the backbone and its heads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another content than the hash says, or tensors of other sizes.
    """
    try:
        expect_sha256(weights, sha256.lower())
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"adversary.weights: {error}; without DINO's weights use backbone: tiny") from None
    discriminator = Discriminator(sizes)
    load_strictly(discriminator.backbone, BACKBONE.read(read_tensors(weights))[0], weights)
    return discriminator


class EncoderEyes(nn.Module):
    """An encoder's blocks in the place of DINO's."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        expect_maps(encoder)
        self.encoder = encoder.requires_grad_(False)

    def forward(self, images: Tensor, depths: Collection[int]) -> dict[int, Tensor]:
        """Return {block, counted from 0: its tokens [B W N]} of standardised images [B 3 size size]."""
        seen = block_tokens(self.encoder, images, depths)
        return {depth: tokens.mT.float() for depth, tokens in seen.items()}


def encoder_discriminator(encoder: Encoder, kernel: int = 3) -> Discriminator:
    """Return the heads over an encoder: one on every block, one more on the last.

    Args:
        encoder: frozen from now on.
        kernel: tokens that a head's convolution spans; RAE's 9 is a third of a row of its 28 x 28.
    """
    sizes = encoder.config
    config = DiscriminatorConfig(
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
        width=sizes.width,
        depth=sizes.depth,
        heads=sizes.heads,
        mlp_width=sizes.mlp_width,
        key_depths=tuple(range(sizes.depth)),
        kernel=kernel,
        pixel_mean=_by_colour(sizes.pixel_mean),
        pixel_std=_by_colour(sizes.pixel_std),
    )
    return Discriminator(config, EncoderEyes(encoder))


def _by_colour(value: float | tuple[float, float, float]) -> tuple[float, float, float]:
    return tuple(colours(value).expand(3, 1, 1).flatten().tolist())
