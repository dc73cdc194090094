"""DINOv2 with registers (Darcet et al. 2024, arXiv 2309.16588) and WebSSL (arXiv 2504.01017)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unimm.latents.encoders.config import EncoderConfig
from unimm.latents.encoders.names import use_present_names
from unimm.latents.encoders.positions import keep_positions
from unimm.latents.encoders.tower import Encoder


class Dinov2Encoder(Encoder):
    """DINOv2 with registers; class and register tokens are dropped, positions resampled with antialiasing."""

    model_types = ("dinov2_with_registers",)

    @staticmethod
    def tower_class() -> type[nn.Module]:
        from transformers import Dinov2WithRegistersModel

        return Dinov2WithRegistersModel

    @staticmethod
    def own_sizes(config: EncoderConfig) -> dict[str, Any]:
        return {"mlp_ratio": _ratio(config), "num_register_tokens": config.registers}

    def _take(self, tower: nn.Module) -> None:
        self.embeddings = tower.embeddings
        self.layers = tower.encoder.layer
        if self.config.resamples_positions:
            keep_positions(self.embeddings, "position_embeddings")
        use_present_names(self)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last block's output at the patches, [B N C], for standardised pixels [B 3 Hp Wp]."""
        h = self.embeddings(inputs)
        for layer in self.layers:
            h = layer(h)
        return h[:, 1 + self.config.registers :]


class WebSSLEncoder(Dinov2Encoder):
    """WebSSL's DINOv2 without registers; the final norm keeps its weight and bias and nothing follows it.

    As Tong et al. 2026 (arXiv 2601.16208) use it. Positions are resampled without antialiasing.
    """

    model_types = ("dinov2",)
    norms_inside = True

    @staticmethod
    def tower_class() -> type[nn.Module]:
        from transformers import Dinov2Model

        return Dinov2Model

    @staticmethod
    def own_sizes(config: EncoderConfig) -> dict[str, Any]:
        return {"mlp_ratio": _ratio(config)}

    def _take(self, tower: nn.Module) -> None:
        super()._take(tower)
        self.layernorm = tower.layernorm

    def norm(self, hidden: Tensor) -> Tensor:
        """Return [B N C] under the tower's own final LayerNorm."""
        return self.layernorm(hidden).float()


def _ratio(config: EncoderConfig) -> int:
    if config.mlp_width % config.width:
        raise ValueError(
            f"encoder.mlp_width: expected a multiple of width = {config.width} for kind {config.kind!r}, "
            f"got {config.mlp_width}"
        )
    return config.mlp_width // config.width
