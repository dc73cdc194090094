"""The masked autoencoder's encoder (He et al. 2022, arXiv 2111.06377), with nothing masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimm.latents.attention import use_in_tower
from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.names import use_present_names
from unimm.latents.encoders.positions import keep_positions
from unimm.latents.encoders.tower import Encoder, sizes_of


class MAEEncoder(Encoder):
    """MAE's vision transformer; the class token is dropped, every patch is seen in reading order."""

    @staticmethod
    def build_tower(config: EncoderConfig) -> nn.Module:
        # Imported here: transformers' vision models cost a second that `import unimm` must not pay.
        from transformers import ViTMAEModel

        return ViTMAEModel(mae_config(config))

    def _take(self, tower: nn.Module) -> None:
        use_in_tower(tower.config)
        self.embeddings = tower.embeddings
        self.layers = tower.layers
        if self.config.resamples_positions:
            keep_positions(self.embeddings, "position_embeddings")
        use_present_names(self)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output at the patches, [B N C], for standardised pixels [B 3 Hp Wp]."""
        # Patches are sorted by these numbers instead of random ones, and with mask_ratio 0 all are kept.
        order = torch.arange(self.config.num_tokens, device=inputs.device).expand(len(inputs), -1)
        h, _, _ = self.embeddings(
            inputs, noise=order, interpolate_pos_encoding=self.config.resamples_positions
        )
        for layer in self.layers:
            h = layer(h)
        return h[:, 1:]


def mae_config(config: EncoderConfig):
    """Return transformers' config of these sizes."""
    from transformers import ViTMAEConfig

    return ViTMAEConfig(**sizes_of(config), intermediate_size=config.mlp_width, mask_ratio=0.0)
