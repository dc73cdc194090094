"""A base of narrow blocks that conditions a head of few, wide ones (DDT, Wang et al. 2025; DiT^DH of RAE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.blocks import FinalLayer
from unimm.dit.body import Body
from unimm.dit.config import DDTConfig


class DDT(Body):
    """v = H(x_t | z), z = M(x_t | t, y): head and base both see the noisy latents.

    The base is a LightningDiT without its final layer. Its output, one vector per token, is the head's
    condition; the head has an embedding of its own and no position table.
    """

    def __init__(self, config: DDTConfig):
        super().__init__(config)
        base, head, z = config.width, config.head_width, config.condition_width
        self.blocks = nn.ModuleList(
            [self._block(base, config.heads, z, config.mlp_width) for _ in range(config.depth)]
            + [
                self._block(head, config.head_heads, head, config.head_mlp_width)
                for _ in range(config.head_depth)
            ]
        )
        self.head_embed = nn.Linear(config.patch_channels, head)
        self.bridge = nn.Identity() if base == head else nn.Linear(base, head)
        self.join = BRIDGES[config.bridge]
        self.final = FinalLayer(head, head, config.patch_channels * (1 + config.learn_sigma), config.norm)
        for name in ("head_rope_cos", "head_rope_sin"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.reset_tables()
        self.reset_parameters()

    def velocity(self, patches: Tensor, time: Tensor, condition: Tensor, kept: dict[int, Tensor]) -> Tensor:
        """Return [B M p*p*K]: the base conditions the head."""
        depth, blocks = self.config.depth, list(self.blocks)
        h = self.embed(patches) + self.positions.to(self.embed.weight.dtype)
        h = self.run(1, blocks[:depth], h, condition, (self.rope_cos, self.rope_sin), kept)
        s = F.silu(self.bridge(F.silu(self.join(h, time))))
        h = self.head_embed(patches)
        h = self.run(depth + 1, blocks[depth:], h, s, (self.head_rope_cos, self.head_rope_sin), kept)
        return self.final(h, s)

    def reset_tables(self) -> None:
        """Recompute the constant tables of base and head."""
        super().reset_tables()
        config = self.config
        self.head_rope_cos, self.head_rope_sin = self._rope(config.head_width, config.head_heads)

    def reset_parameters(self) -> None:
        """Set every parameter as in `Body`, but what stands inside the blocks, and the bridge, as RAE does.

        | parameter                                   | start                             |
        |---------------------------------------------|-----------------------------------|
        | attention, MLPs, bridge: weights and biases | uniform, +- 1 / sqrt(inputs)      |
        """
        super().reset_parameters()
        inside = [part for block in self.blocks for part in (block.attention, block.mlp)]
        for module in (module for part in [*inside, self.bridge] for module in part.modules()):
            if isinstance(module, nn.Linear):
                module.reset_parameters()


def with_time(h: Tensor, time: Tensor) -> Tensor:
    """Return the base's output [B M W] plus the embedded time [B 1 W] (RAE)."""
    return h + time


def without_time(h: Tensor, time: Tensor) -> Tensor:
    """Return the base's output as it is (Scale-RAE)."""
    return h


BRIDGES = {"time": with_time, "plain": without_time}
