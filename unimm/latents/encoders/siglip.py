"""SigLIP 2 of fixed resolution (Tschannen et al. 2025, arXiv 2502.14786)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimm.latents.attention import use_in_tower
from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.positions import keep_positions
from unimm.latents.encoders.tower import Encoder, sizes_of


class SiglipEncoder(Encoder):
    """The vision tower of SigLIP 2 (fixed resolution), built from transformers' own modules."""

    @staticmethod
    def build_tower(config: EncoderConfig) -> nn.Module:
        # Imported here: transformers' vision models cost a second that `import unimm` must not pay.
        from transformers import SiglipVisionModel

        return SiglipVisionModel(siglip_config(config))

    def _take(self, tower: nn.Module) -> None:
        use_in_tower(tower.config)
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
        positions = self.embeddings.position_embedding.weight
        self.embeddings.position_ids = torch.arange(len(positions), device=positions.device).expand(1, -1)


def siglip_config(config: EncoderConfig):
    """Return transformers' config of these sizes."""
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(
        **sizes_of(config), intermediate_size=config.mlp_width, vision_use_head=config.use_head
    )
