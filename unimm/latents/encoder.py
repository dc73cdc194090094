"""Encoders: pixels to raw latents. One table of kinds; SigLIP 2 is the first of them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.latents.attention import use_in_tower
from unimm.shapes import expect


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a vision encoder. Published SigLIP-2 So400m: 224, 14, 1152, 27, 16, 4304."""

    image_size: int
    """Pixels per side."""
    patch_size: int
    """Pixels per patch side; a remainder of the image at the right and bottom is not seen."""
    width: int
    """C, latent channels."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    mlp_width: int
    """Hidden width of the MLP."""
    kind: str = "siglip2"
    """Which encoder, from the table ENCODERS."""
    use_head: bool = False
    """Keep the final norm and pooling head of a published tower; latents never pass through them."""
    pixel_mean: float = 0.5
    """Pixels enter the tower as (pixels - mean) / std."""
    pixel_std: float = 0.5
    """See pixel_mean."""

    def __post_init__(self):
        for name in ("image_size", "patch_size", "width", "depth", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"encoder.{name}: expected a positive number, got {getattr(self, name)}")
        if self.patch_size > self.image_size:
            raise ValueError(
                f"encoder.patch_size: expected at most image_size {self.image_size}, got {self.patch_size}"
            )
        if self.width % self.heads:
            raise ValueError(f"encoder.width: expected a multiple of heads = {self.heads}, got {self.width}")

    @property
    def grid(self) -> int:
        """Latent tokens per side."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid**2


class SiglipEncoder(nn.Module):
    """The vision tower of SigLIP 2 (fixed resolution), built from transformers' own modules."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        # Imported here: transformers' vision models cost a second that `import unimm` must not pay.
        from transformers import SiglipVisionConfig, SiglipVisionModel

        self.config = config
        model = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=config.width,
                intermediate_size=config.mlp_width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                image_size=config.image_size,
                patch_size=config.patch_size,
                vision_use_head=config.use_head,
            )
        )
        use_in_tower(model.config)
        tower = getattr(model, "vision_model", model)
        self.embeddings = tower.embeddings
        self.layers = tower.encoder.layers
        self.post_layernorm = tower.post_layernorm if config.use_head else None
        self.head = tower.head if config.use_head else None

    def encode(self, pixels: Tensor) -> Tensor:
        """Return raw latents [B N C] of pixels [B 3 Hp Wp] in [0, 1].

        They are the last block's output under a LayerNorm without affine, eps 1e-6: the tower's own
        final norm less its weights (Zheng et al. 2025). Each token has mean 0 and variance 1.

        Raises:
            ValueError: pixels are not [B 3 image_size image_size].
        """
        size = self.config.image_size
        expect("pixels", pixels, "B 3 Hp Wp", Hp=size, Wp=size)
        hidden = self.hidden((pixels - self.config.pixel_mean) / self.config.pixel_std)
        return F.layer_norm(hidden.float(), (self.config.width,), eps=1e-6)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output [B N C] for normalised pixels [B 3 Hp Wp]."""
        h = self.embeddings(inputs)
        for layer in self.layers:
            h = layer(h, attention_mask=None)
        return h

    forward = encode

    def reset_tables(self) -> None:
        """Recompute the index table that is in no checkpoint, on the device where it is."""
        device = self.embeddings.position_embedding.weight.device
        self.embeddings.position_ids = torch.arange(self.config.num_tokens, device=device).expand(1, -1)


ENCODERS = {"siglip2": SiglipEncoder}
"""Encoder classes by kind; each takes an EncoderConfig and has `encode(pixels) -> raw latents`."""


def build_encoder(config: EncoderConfig) -> nn.Module:
    """Build the encoder that config.kind names.

    Raises:
        ValueError: an unknown kind; the message suggests the nearest one.
    """
    if config.kind not in ENCODERS:
        near = difflib.get_close_matches(config.kind, ENCODERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"encoder.kind: unknown {config.kind!r}; {hint}(known: {', '.join(sorted(ENCODERS))})"
        )
    return ENCODERS[config.kind](config)
