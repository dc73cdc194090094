"""The masked autoencoder's encoder (He et al. 2022, arXiv 2111.06377), with nothing masked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.names import use_present_names
from unimm.latents.encoders.positions import keep_positions
from unimm.latents.encoders.tower import Encoder


class MAEEncoder(Encoder):
    """MAE's vision transformer; the class token is dropped, every patch is seen in reading order."""

    model_types = ("vit_mae",)
    unread = (r"decoder\..*",)

    @staticmethod
    def tower_class() -> type[nn.Module]:
        from transformers import ViTMAEModel

        return ViTMAEModel

    @staticmethod
    def own_sizes(config: EncoderConfig) -> dict[str, Any]:
        return {"intermediate_size": config.mlp_width, "mask_ratio": 0.0}

    def _take(self, tower: nn.Module) -> None:
        self.embeddings = tower.embeddings
        self.layers = tower.layers
        if self.config.resamples_positions:
            keep_positions(self.embeddings, "position_embeddings")
        use_present_names(self)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output at the patches, [B N C], for standardised pixels [B 3 Hp Wp]."""
        # Patches are sorted by these numbers instead of random ones, and with mask_ratio 0 all are kept.
        order = torch.arange(self.config.num_tokens, device=inputs.device).expand(len(inputs), -1)
        inputs = inputs.to(
            self.embeddings.patch_embeddings.projection.weight.dtype
        )  # the others do it themselves
        h, _, _ = self.embeddings(
            inputs, noise=order, interpolate_pos_encoding=self.config.resamples_positions
        )
        for layer in self.layers:
            h = layer(h)
        return h[:, 1:]
