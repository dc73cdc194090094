"""SigLIP 2 of fixed resolution (Tschannen et al. 2025, arXiv 2502.14786)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.positions import keep_positions
from unimm.latents.encoders.tower import Encoder


class SiglipEncoder(Encoder):
    """The vision tower of SigLIP 2 (fixed resolution), built from transformers' own modules."""

    model_types = ("siglip", "siglip_vision_model")
    unread = (r"text_model\..*", r"logit_(scale|bias)", r"(vision_model\.)?(head|post_layernorm)\..*")

    @staticmethod
    def tower_class() -> type[nn.Module]:
        from transformers import SiglipVisionModel

        return SiglipVisionModel

    @staticmethod
    def own_sizes(config: EncoderConfig) -> dict[str, Any]:
        return {"intermediate_size": config.mlp_width, "vision_use_head": config.use_head}

    def _take(self, tower: nn.Module) -> None:
        tower = getattr(tower, "vision_model", tower)
        self.embeddings = tower.embeddings
        self.layers = tower.encoder.layers
        self.post_layernorm = tower.post_layernorm if self.config.use_head else None
        self.head = tower.head if self.config.use_head else None
        if self.config.resamples_positions:
            keep_positions(self.embeddings, "position_embedding.weight")

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output [B N C] for standardised pixels [B 3 Hp Wp]."""
        h = self.embeddings(inputs, interpolate_pos_encoding=self.config.resamples_positions)
        for layer in self.layers:
            h = layer(h, attention_mask=None)
        return h

    def reset_tables(self) -> None:
        """Recompute the index table that is in no checkpoint, on the device where it is."""
        super().reset_tables()
        num_positions = (self.config.table_size // self.config.patch_size) ** 2
        device = self.embeddings.position_embedding.weight.device
        self.embeddings.position_ids = torch.arange(num_positions, device=device).expand(1, -1)
