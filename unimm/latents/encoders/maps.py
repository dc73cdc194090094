"""What every block of an encoder sees: feature maps for distances and for discriminators."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from unimm.latents.encoders.siglip import SiglipEncoder
from unimm.latents.encoders.tower import Encoder
from unimm.latents.pixels import resize_pixels


def expect_maps(encoder: Encoder) -> None:
    """Refuse an encoder whose blocks `block_tokens` cannot look at.

    Raises:
        ValueError: it is not a SigLIP-2 tower.
    """
    if not isinstance(encoder, SiglipEncoder):
        raise ValueError(
            f"encoder: expected kind 'siglip2', whose tokens are all patches, got {encoder.config.kind!r}; "
            "choose another backbone"
        )


def block_tokens(encoder: SiglipEncoder, inputs: Tensor, depths: Collection[int]) -> dict[int, Tensor]:
    """Return {block, counted from 0: its tokens [B N C]} of standardised pixels [B 3 S S].

    Gradients reach the pixels.
    """
    resamples = encoder.config.resamples_positions
    hidden, seen = encoder.embeddings(inputs, interpolate_pos_encoding=resamples), {}
    for depth, layer in enumerate(encoder.layers):
        hidden = layer(hidden, attention_mask=None)
        if depth in depths:
            seen[depth] = hidden
    return seen


def block_maps(encoder: SiglipEncoder, pixels: Tensor) -> list[Tensor]:
    """Return every block's feature map [B C h w] of pixels [B 3 Hp Wp] in [0, 1], which are resized."""
    inputs = encoder.standardise(resize_pixels(pixels, encoder.config.image_size))
    seen = block_tokens(encoder, inputs, range(len(encoder.layers)))
    return [tokens.mT.unflatten(-1, (encoder.config.grid, -1)) for tokens in seen.values()]
