"""LightningDiT over latent tokens, as Scale-RAE uses it: one condition vector for every latent token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm.dit.blocks import Block, FinalLayer
from unimm.dit.rope import rope_angles
from unimm.dit.time import TimeEmbedding, fourier_frequencies
from unimm.shapes import expect, sincos_table


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a LightningDiT. Published: width 2048, depth 32, heads 32, channels 1152, grid 16."""

    channels: int
    """C, latent channels; the paper keeps width above it."""
    width: int
    """W, a multiple of 4 heads."""
    depth: int
    """Number of blocks."""
    heads: int
    """Attention heads; W / heads is a multiple of 4 for the rotary positions."""
    condition_width: int
    """Z; equal to the width in the published recipes."""
    grid: int
    """Latent tokens per side: N = grid * grid."""
    mlp_width: int | None = None
    """Hidden width of SwiGLU. None is the published int(2/3 * 4 W), often odd; multiples of 32 run faster."""
    guidable: bool = True
    """Whether a null condition is learned. False for checkpoints trained without condition dropout."""

    def __post_init__(self):
        for name in ("channels", "width", "depth", "heads", "condition_width", "grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"dit.{name}: expected a positive number, got {getattr(self, name)}")
        if self.width % (4 * self.heads):
            raise ValueError(
                f"dit.width: expected a multiple of 4 * heads = {4 * self.heads}, got {self.width}"
            )


class LightningDiT(nn.Module):
    """The velocity of noisy latents, given the time and one condition vector per token."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        width, z = config.width, config.condition_width
        mlp_width = config.mlp_width or int(2 / 3 * 4 * width)
        self.embed = nn.Linear(config.channels, width)
        self.time = TimeEmbedding(z)
        self.null_condition = nn.Parameter(torch.zeros(z)) if config.guidable else None
        self.blocks = nn.ModuleList([Block(width, config.heads, z, mlp_width) for _ in range(config.depth)])
        self.final = FinalLayer(width, z, config.channels)
        for name in ("frequencies", "positions", "rope_cos", "rope_sin"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.reset_tables()
        self.reset_parameters()

    def forward(self, x: Tensor, t: Tensor, conditions: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Return the velocity [B N C] of noisy latents.

        Args:
            x: [B N C] normalised latents at time t, tokens in reading order.
            t: [B] in [0, 1]; 1 is noise. Embedded in float32.
            conditions: [B N Z]; vector i conditions latent token i and no other.
            dropped: [B] bool, where the null condition stands in (training for guidance). Done here, as a
                sharded null condition is whole only inside this call.

        Raises:
            ValueError: a size differs from the config or between arguments.
        """
        config = self.config
        sizes = expect("x", x, "B N C", N=config.grid**2, C=config.channels)
        sizes = expect("conditions", conditions, "B N Z", Z=config.condition_width, **sizes)
        expect("t", t, "B", B=sizes["B"])
        if dropped is not None:
            conditions = self.drop_conditions(conditions, dropped)
        # SiLU here and once more in every block: the published models were trained with both.
        time = self.time(t, self.frequencies).to(conditions.dtype)
        condition = F.silu(F.silu(time[:, None] + conditions))
        h = self.embed(x.to(self.embed.weight.dtype)) + self.positions.to(self.embed.weight.dtype)
        for block in self.blocks:
            h = block(h, condition, self.rope_cos, self.rope_sin)
        return self.final(h, condition)

    def drop_conditions(self, conditions: Tensor, dropped: Tensor) -> Tensor:
        """Return conditions [B N Z] with the null condition where dropped [B] is true.

        Raises:
            ValueError: this model has no null condition, so it cannot be guided.
        """
        expect("dropped", dropped, "B", B=conditions.shape[0])
        if self.null_condition is None:
            raise ValueError(
                "null_condition: this model was built without one (guidable=False), so conditions cannot be "
                "dropped nor guidance used; set guidance_scale to 1"
            )
        return torch.where(dropped[:, None, None], self.null_condition.to(conditions.dtype), conditions)

    def reset_tables(self) -> None:
        """Recompute the constant tables in float32 on the device where they are."""
        config, device = self.config, self.frequencies.device
        angles = rope_angles(config.grid, config.width // config.heads)
        self.frequencies = fourier_frequencies().to(device)
        self.positions = sincos_table(config.grid, config.width).to(device)
        self.rope_cos, self.rope_sin = angles.cos().to(device), angles.sin().to(device)

    def reset_parameters(self) -> None:
        """Set every parameter.

        | parameter                         | start                                     |
        |-----------------------------------|-------------------------------------------|
        | linear weights                    | Xavier uniform                            |
        | biases                            | 0                                         |
        | time embedding weights            | N(0, 0.02)                                |
        | all modulation, final projection  | 0: each block starts as the identity      |
        | null condition                    | N(0, 0.02)                                |
        | norm weights                      | 1                                         |
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.time.hidden.weight, std=0.02)
        nn.init.normal_(self.time.out.weight, std=0.02)
        for layer in [self.final.out, self.final.modulation, *(block.modulation for block in self.blocks)]:
            nn.init.zeros_(layer.weight)
        if self.null_condition is not None:
            nn.init.normal_(self.null_condition, std=0.02)

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the tables float32 and, off the meta device, filled."""
        super()._apply(fn, recurse)
        self.reset_tables()
        return self
