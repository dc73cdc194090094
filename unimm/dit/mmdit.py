"""MM-DiT: text and image in two streams that share their attention (Stable Diffusion 3, arXiv 2403.03206)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unimm.dit.blocks import FinalLayer
from unimm.dit.joint import JointBlock
from unimm.dit.mmdit_config import MMDiTConfig, depth_sizes
from unimm.dit.patches import gather_patches, scatter_patches
from unimm.dit.positions import CroppedPositions
from unimm.dit.time import TimeEmbedding
from unimm.shapes import expect

__all__ = ["MMDiT", "MMDiTConfig", "TextConditions", "depth_sizes"]

TIME_SCALE = 1000.0
"""The published networks are fed 1000 t."""


@dataclass(frozen=True)
class TextConditions:
    """What an MM-DiT is told: a sequence and one vector for the whole text."""

    sequence: Tensor
    """[B L S]; in SD3 77 tokens of CLIP and 77 of T5, padding included, so no row is shorter and there is
    no mask."""
    pooled: Tensor
    """[B P]; in SD3 the pooled vectors of CLIP-L and bigG side by side."""


@dataclass(frozen=True)
class PreparedText:
    """Text as an MM-DiT's blocks take it, and the positions of one size: what no step changes."""

    sequence: Tensor
    """[B L W] projected"""
    pooled: Tensor
    """[B W] embedded, float32"""
    positions: Tensor
    """[M W]"""
    size: tuple[int, int]
    """Rows and columns of the latents that it was prepared for."""


class PooledEmbedding(nn.Module):
    """Linear - SiLU - Linear over the pooled text vector."""

    def __init__(self, pooled_width: int, width: int):
        super().__init__()
        self.hidden = nn.Linear(pooled_width, width)
        self.out = nn.Linear(width, width)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return [B W] from [B P]."""
        return self.out(F.silu(self.hidden(pooled)))


class MMDiT(nn.Module):
    """The velocity of noisy latents of any aspect ratio, given the time and a text.

    Of a sample's steps only the image changes, but in a joint attention text answers to the image in every
    block: its keys and values differ from step to step and cannot be kept. What no step changes is `prepared`
    once. The modulations of all steps at once would save no multiply-accumulate and 2 % of the time at
    batch 1 (width 768, 256 patches, 154 text tokens, one CPU core, float32), for a table of every step and
    sample and a velocity that is told its steps beforehand: not done.
    """

    gradient_checkpointing = False
    """In training, keep each block's input only and compute the block again for its gradient."""

    def __init__(self, config: MMDiTConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Linear(config.patch_channels, width)
        side = (config.pretrained_grid or config.grid) // config.patch_size
        self.positions = CroppedPositions(width, config.table, config.side, side, config.positions)
        self.time = TimeEmbedding(width, "sinusoid", scale=TIME_SCALE)
        self.pooled = PooledEmbedding(config.pooled_width, width)
        self.context = nn.Linear(config.sequence_width, width)
        self.blocks = nn.ModuleList([self._block(i) for i in range(config.depth)])
        self.final = FinalLayer(width, width, config.patch_channels, "layer")
        self.register_buffer("frequencies", torch.empty(0), persistent=False)
        self.reset_tables()
        self.reset_parameters()

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        conditions: TextConditions | PreparedText,
        dropped: Tensor | None = None,
        size: tuple[int, int] | None = None,
        skip_layers: Collection[int] = (),
    ) -> Tensor:
        """Return the velocity [B N C] of noisy latents.

        Args:
            x: [B N C] normalised latents at time t, in reading order.
            t: [B] in [0, 1]; 1 is noise. Embedded in float32.
            conditions: the text, for guidance that of an empty or a negative prompt; or the same `prepared`,
                once for all steps.
            dropped: must be None; text encoders are dropped where the text is encoded.
            size: (rows, columns) of the latents, N = rows * columns; None is the square grid.
            skip_layers: blocks to leave out, the first is 0, for skip-layer guidance; SD3.5-medium is guided
                with its blocks 7, 8 and 9 left out.

        Raises:
            ValueError: a size differs from the config or between arguments, exceeds the position table, or
                there is no such block.
        """
        return self.features(x, t, conditions, (), dropped, size, skip_layers)[0]

    def features(
        self,
        x: Tensor,
        t: Tensor,
        conditions: TextConditions | PreparedText,
        at: Sequence[int],
        dropped: Tensor | None = None,
        size: tuple[int, int] | None = None,
        skip_layers: Collection[int] = (),
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the velocity [B N C] and the image tokens [B M W] after each block in `at`, in one pass.

        Args:
            at: block numbers, the first block is 1.

        Others as in `forward`.

        Raises:
            ValueError: as `forward`, or no such block.
        """
        rows, columns = size or (self.config.grid, self.config.grid)
        self._check_latents(x, t, rows, columns)
        if not isinstance(conditions, PreparedText):
            conditions = self.prepared(conditions, dropped, (rows, columns))
        self._check_prepared(conditions, dropped, len(x), (rows, columns))
        self._refuse_strangers("at", at, 1)
        self._refuse_strangers("skip_layers", skip_layers, 0)
        dtype, p = self.embed.weight.dtype, self.config.patch_size
        image = self.embed(gather_patches(x, rows, columns, p).to(dtype)) + conditions.positions
        text = conditions.sequence
        condition = F.silu(self.time(t, self.frequencies) + conditions.pooled).to(dtype)[:, None]
        kept = {}
        for i, block in enumerate(self.blocks):
            if i not in skip_layers:
                image, text = self._run(block, image, text, condition)
            kept[i + 1] = image
        v = scatter_patches(self.final(image, condition), rows, columns, p)
        return v, [kept[i] for i in at]

    def prepared(
        self,
        conditions: TextConditions,
        dropped: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> PreparedText:
        """Return the text in the form that forward takes for every step at this size.

        Arguments and errors as in `forward`.
        """
        self._refuse_dropped(dropped)
        sizes = expect("conditions.sequence", conditions.sequence, "B L S", S=self.config.sequence_width)
        width = self.config.pooled_width
        expect("conditions.pooled", conditions.pooled, "B P", B=sizes["B"], P=width)
        size = tuple(size) if size else (self.config.grid, self.config.grid)
        dtype, p = self.embed.weight.dtype, self.config.patch_size
        return PreparedText(
            self.context(conditions.sequence.to(dtype)),
            self.pooled(conditions.pooled.to(dtype)).float(),  # added to time in float32
            self.positions(size[0] // p, size[1] // p).to(dtype),
            size,
        )

    def reset_tables(self) -> None:
        """Recompute the constant tables in float32 on the device where they are."""
        self.frequencies = self.time.kind.frequencies().to(self.frequencies.device)
        self.positions.reset_tables()

    def reset_parameters(self) -> None:
        """Set every parameter. (diffusers leaves PyTorch's start, with which no block is the identity.)

        | parameter                         | start                                     |
        |-----------------------------------|-------------------------------------------|
        | linear weights                    | Xavier uniform                            |
        | biases                            | 0                                         |
        | weights of time and pooled text   | N(0, 0.02)                                |
        | all modulation, final projection  | 0: each block starts as the identity      |
        | norm weights                      | 1                                         |
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.time.hidden, self.time.out, self.pooled.hidden, self.pooled.out):
            nn.init.normal_(layer.weight, std=0.02)
        streams = [stream for block in self.blocks for stream in (block.image, block.text)]
        for layer in [self.final.out, self.final.modulation, *(stream.modulation for stream in streams)]:
            nn.init.zeros_(layer.weight)

    def _block(self, i: int) -> JointBlock:
        config = self.config
        return JointBlock(
            config.width, config.heads, config.mlp_width, qk_norm=config.qk_norm,
            dual=i in config.dual_blocks, last=i == config.depth - 1, attention=config.attention,
        )  # fmt: skip

    def _run(self, block: JointBlock, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.gradient_checkpointing and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _refuse_dropped(self, dropped: Tensor | None) -> None:
        if dropped is not None:
            raise ValueError(
                "dropped: expected None, an MM-DiT has no null condition; drop text where it is encoded"
            )

    def _check_latents(self, x: Tensor, t: Tensor, rows: int, columns: int) -> None:
        sizes = expect("x", x, "B N C", C=self.config.channels)
        if sizes["N"] != rows * columns:
            raise ValueError(
                f"size: expected rows x columns = N = {sizes['N']}, got {rows} x {columns} = {rows * columns}"
            )
        expect("t", t, "B", B=sizes["B"])

    def _check_prepared(
        self, text: PreparedText, dropped: Tensor | None, batch: int, size: tuple[int, int]
    ) -> None:
        self._refuse_dropped(dropped)
        expect("conditions.sequence", text.sequence, "B L W", B=batch, W=self.config.width)
        expect("conditions.pooled", text.pooled, "B W", B=batch, W=self.config.width)
        if text.size != size:
            raise ValueError(f"size: expected {text.size}, for which the text was prepared, got {size}")

    def _refuse_strangers(self, name: str, numbers: Collection[int], first: int) -> None:
        last = first + len(self.blocks) - 1
        strangers = [i for i in numbers if not first <= i <= last]
        if strangers:
            raise ValueError(f"{name}: expected block numbers from {first} to {last}, got {strangers}")

    def _apply(self, fn, recurse: bool = True):
        """Move or cast as usual, but keep the tables float32 and, off the meta device, filled."""
        super()._apply(fn, recurse)
        self.reset_tables()
        return self
