"""What `lightning` and `ddt` share: latents to tokens and back, time and condition, runs of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unimm.dit.blocks import Block
from unimm.dit.config import DiTConfig
from unimm.dit.labels import LabelTable
from unimm.dit.patches import gather_patches, scatter_patches
from unimm.dit.rope import rope_angles
from unimm.dit.time import TimeEmbedding
from unimm.shapes import expect, sincos_table

Rope = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PreparedVectors:
    """Conditions with the null condition in its places, looked up and cast: what no step changes."""

    vectors: Tensor
    """[B N Z], or [B 1 Z]: one for all tokens"""


class Body(nn.Module):
    """A velocity network of modulated blocks; a subclass says how the blocks are joined, in `velocity`.

    Where one condition serves all tokens, the modulations of every step could be computed before the
    first. That saves no multiply-accumulate, as each step of each sample has its own, only reading their
    weights again at each step: all modulations are about 1 % of a forward pass of XL width at batch 1, 0.3 %
    at batch 4, and at width 768 ten steps at once save 0.4 % at batch 1, 0.7 % at batch 8 (256 tokens, one
    CPU core, float32). They would be kept for every step and sample, so they are not.
    """

    gradient_checkpointing = False
    """In training, keep each block's input only and compute the block again for its gradient."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        z = config.condition_width
        self.embed = nn.Linear(config.patch_channels, config.width)
        self.time = TimeEmbedding(
            z,
            config.time,
            scale=config.time_scale,
            reversed=config.time_reversed,
            num_frequencies=config.num_frequencies,
        )
        vectors = config.num_classes is None
        self.null_condition = nn.Parameter(torch.zeros(z)) if vectors and config.guidable else None
        self.labels = None if vectors else LabelTable(config.num_classes, z, config.guidable)
        own = config.num_frequencies is not None
        self.register_buffer("frequencies", torch.empty(config.num_frequencies or 0), persistent=own)
        for name in ("positions", "rope_cos", "rope_sin"):
            self.register_buffer(name, torch.empty(0), persistent=False)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        conditions: Tensor | PreparedVectors,
        dropped: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Return the velocity [B N C] of noisy latents.

        Args:
            x: [B N C] normalised latents at time t, tokens in reading order.
            t: [B] in [0, 1]; 1 is noise. Embedded in float32.
            conditions: [B N Z]; vector i conditions token i and no other (with patches, one vector per
                patch). Or [B 1 Z]: one vector for all. Or, with num_classes, labels [B]. Or any of them
                `prepared`, once for all steps. Outside autocast cast to the dtype of the weights.
            dropped: [B] bool, where the null condition stands in (training for guidance). Done here, as a
                sharded null condition is whole only inside this call.
            size: (rows, columns) of the latents; this body knows its own square grid only.

        Raises:
            ValueError: a size differs from the config or between arguments.
        """
        return self.features(x, t, conditions, (), dropped, size)[0]

    def features(
        self,
        x: Tensor,
        t: Tensor,
        conditions: Tensor | PreparedVectors,
        at: Sequence[int],
        dropped: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the velocity [B N C] and the tokens [B M W] after each block in `at`, in one pass.

        Args:
            at: block numbers, the first block is 1; the blocks of a head follow those of its base.

        Others as in `forward`.

        Raises:
            ValueError: as `forward`, or no such block.
        """
        config = self.config
        sizes = expect("x", x, "B N C", N=config.grid**2, C=config.channels)
        expect("t", t, "B", B=sizes["B"])
        self._refuse_size(size)
        kept = self._to_keep(at)
        vectors = self._vectors(conditions, dropped, sizes["B"])
        time = self.time(t, self.frequencies).to(vectors.dtype)[:, None]
        condition = time + vectors
        for _ in range(config.condition_activations):
            condition = F.silu(condition)
        grid = config.grid, config.grid, config.patch_size
        patches = gather_patches(x, *grid).to(self.embed.weight.dtype)
        v = scatter_patches(self.velocity(patches, time, condition, kept), *grid)
        return v[..., : config.channels], [kept[i] for i in at]

    def prepared(
        self, conditions: Tensor, dropped: Tensor | None = None, size: tuple[int, int] | None = None
    ) -> PreparedVectors:
        """Return conditions in the form that forward takes for every step, instead of them and `dropped`.

        Arguments and errors as in `forward`.
        """
        self._refuse_size(size)
        return PreparedVectors(self._vectors(conditions, dropped, len(conditions)))

    def velocity(self, patches: Tensor, time: Tensor, condition: Tensor, kept: dict[int, Tensor]) -> Tensor:
        """Return what the final layer puts out, [B M p*p*K].

        Args:
            patches: [B M C*p*p] noisy latents.
            time: [B 1 Z] embedded.
            condition: [B M Z] or [B 1 Z] activated sum of time and condition.
            kept: filled with the tokens after each block whose number is a key.
        """
        raise NotImplementedError

    def run(
        self,
        first: int,
        blocks: Sequence[Block],
        h: Tensor,
        condition: Tensor,
        rope: Rope,
        kept: dict[int, Tensor],
    ) -> Tensor:
        """Return tokens [B M W] after these blocks; `first` is the number of the first of them."""
        for i, block in enumerate(blocks, first):
            if self.gradient_checkpointing and self.training:
                h = checkpoint(block, h, condition, *rope, use_reentrant=False)
            else:
                h = block(h, condition, *rope)
            if i in kept:
                kept[i] = h
        return h

    def drop_conditions(self, conditions: Tensor, dropped: Tensor) -> Tensor:
        """Return conditions [B N Z] with the null condition where dropped [B] is true.

        Raises:
            ValueError: this model has no null condition, so it cannot be guided, or it takes labels.
        """
        expect("dropped", dropped, "B", B=conditions.shape[0])
        if self.labels is not None:
            raise ValueError("conditions: labels have no null vector; give `dropped` to the network instead")
        if self.null_condition is None:
            raise ValueError(
                "null_condition: this model was built without one (guidable=False), so conditions cannot be "
                "dropped nor guidance used; set guidance_scale to 1"
            )
        return torch.where(dropped[:, None, None], self.null_condition.to(conditions.dtype), conditions)

    def reset_tables(self) -> None:
        """Recompute the constant tables in float32 on the device where they are."""
        config, device = self.config, self.positions.device
        if config.num_frequencies is None:
            self.frequencies = self.time.kind.frequencies().to(device)
        self.positions = POSITIONS[config.positions](config.side, config.width).to(device)
        self.rope_cos, self.rope_sin = self._rope(config.width, config.heads)

    def reset_parameters(self) -> None:
        """Set every parameter.

        | parameter                         | start                                     |
        |-----------------------------------|-------------------------------------------|
        | linear weights                    | Xavier uniform                            |
        | biases                            | 0                                         |
        | time embedding weights            | N(0, 0.02)                                |
        | all modulation, final projection  | 0: each block starts as the identity      |
        | null condition, labels            | N(0, 0.02)                                |
        | norm weights                      | 1                                         |
        | own frequencies, never trained    | N(0, 1), always the same draw             |
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
        if self.labels is not None:
            self.labels.reset_parameters()
        if self.config.num_frequencies is not None:
            self.frequencies.copy_(own_frequencies(len(self.frequencies)))

    def _block(self, width: int, heads: int, condition_width: int, mlp_width: int | None) -> Block:
        config = self.config
        return Block(
            width, heads, condition_width, mlp_width, norm=config.norm, mlp=config.mlp, shift=config.shift,
            qk_norm=config.qk_norm, rope=config.rope, attention=config.attention,
        )  # fmt: skip

    def _rope(self, width: int, heads: int) -> Rope:
        angles = ANGLES[self.config.rope](self.config.side, width // heads)
        device = self.positions.device
        return angles.cos().to(device), angles.sin().to(device)

    def _vectors(self, conditions: Tensor | PreparedVectors, dropped: Tensor | None, batch: int) -> Tensor:
        """Return conditions as vectors [B N Z] or [B 1 Z], the null condition where dropped."""
        if isinstance(conditions, PreparedVectors):
            if dropped is not None:
                raise ValueError("dropped: expected None with prepared conditions; give it to `prepared`")
            expect("prepared conditions", conditions.vectors, "B N Z", B=batch, Z=self.config.condition_width)
            return conditions.vectors
        if self.labels is not None:
            expect("conditions", conditions, "B", B=batch)
            return self.labels(conditions, dropped)[:, None]
        tokens = 1 if conditions.dim() == 3 and conditions.shape[1] == 1 else self.config.side**2
        expect("conditions", conditions, "B N Z", B=batch, N=tokens, Z=self.config.condition_width)
        conditions = self._cast(conditions)
        return conditions if dropped is None else self.drop_conditions(conditions, dropped)

    def _cast(self, conditions: Tensor) -> Tensor:
        """Return conditions in the dtype of the weights, or as they are where autocast casts both."""
        # The meta device, where sizes are counted, has no autocast to ask about.
        if not conditions.is_meta and torch.is_autocast_enabled(conditions.device.type):
            return conditions
        return conditions.to(self.embed.weight.dtype)

    def _refuse_size(self, size: tuple[int, int] | None) -> None:
        grid = self.config.grid
        if size is not None and tuple(size) != (grid, grid):
            raise ValueError(
                f"size: expected ({grid}, {grid}), the grid this body was built for, got {tuple(size)}; "
                "only mmdit takes other grids"
            )

    def _to_keep(self, at: Sequence[int]) -> dict[int, Tensor]:
        strangers = [i for i in at if not 1 <= i <= len(self.blocks)]
        if strangers:
            raise ValueError(f"at: expected block numbers from 1 to {len(self.blocks)}, got {strangers}")
        return dict.fromkeys(at)

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the tables float32 and, off the meta device, filled."""
        own = self.frequencies
        super()._apply(fn, recurse)
        if self.frequencies.dtype != own.dtype:
            self.frequencies = own.to(self.frequencies.device)
        self.reset_tables()
        return self


def own_frequencies(count: int) -> Tensor:
    """Return float32 [count] from N(0, 1); those of published checkpoints were drawn once, too."""
    return torch.randn(count, generator=torch.Generator().manual_seed(0), device="cpu")


def no_positions(side: int, width: int) -> Tensor:
    """Return what adds nothing to the tokens."""
    return torch.zeros(())


def no_angles(side: int, head_width: int) -> Tensor:
    """Return an empty table, for attention that turns nothing."""
    return torch.zeros(0)


POSITIONS = {True: sincos_table, False: no_positions}
ANGLES = {True: rope_angles, False: no_angles}
