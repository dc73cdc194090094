"""LightningDiT over latent tokens: Scale-RAE's by default; by config RAE's, LightningDiT's and DiT's."""

from __future__ import annotations

from torch import Tensor, nn

from unimm.dit.blocks import FinalLayer
from unimm.dit.body import Body
from unimm.dit.config import DiTConfig

__all__ = ["DiTConfig", "LightningDiT"]


class LightningDiT(Body):
    """The velocity of noisy latents, given the time and one condition per token, per image or per class."""

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        width, z = config.width, config.condition_width
        self.blocks = nn.ModuleList(
            [self._block(width, config.heads, z, config.mlp_width) for _ in range(config.depth)]
        )
        outputs = config.patch_channels * (1 + config.learn_sigma)
        self.final = FinalLayer(width, z, outputs, config.norm)
        self.reset_tables()
        self.reset_parameters()

    def velocity(self, patches: Tensor, time: Tensor, condition: Tensor, kept: dict[int, Tensor]) -> Tensor:
        """Return [B M p*p*K]: embedded latents with their places, through every block, to the final layer."""
        h = self.embed(patches) + self.positions.to(self.embed.weight.dtype)
        h = self.run(1, self.blocks, h, condition, (self.rope_cos, self.rope_sin), kept)
        return self.final(h, condition)
