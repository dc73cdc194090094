"""The sizes and variants of an MM-DiT."""

from __future__ import annotations

from dataclasses import dataclass

from unimm.dit.attention import ATTENTIONS
from unimm.dit.config import one_of, positive
from unimm.dit.positions import POSITION_RULES


@dataclass(frozen=True)
class MMDiTConfig:
    """Sizes of an MM-DiT. SD3's rule is width 64 d, depth d, heads d, d from 15 to 38: see `depth_sizes`."""

    channels: int
    """C, latent channels; 16 for the SD3 autoencoder."""
    width: int
    """W of both streams, a multiple of 4 and of the heads."""
    depth: int
    """Number of blocks; text ends in the last one."""
    heads: int
    """Attention heads."""
    grid: int
    """Latent positions per side of a square picture: N = grid * grid where no size is given. SD3: 128."""
    sequence_width: int
    """S, width of the text sequence; 4096 in SD3."""
    pooled_width: int
    """P, width of the pooled text vector; 2048 in SD3."""
    patch_size: int = 1
    """p; p x p latent positions make one token, M = N / p^2. SD3: 2."""
    mlp_width: int | None = None
    """Hidden width of the MLPs of both streams. None is 4 W, as published."""
    qk_norm: bool = False
    """RMSNorm with a weight on every head's q and k in both streams: keeps attention logits from growing when
    tuning in bfloat16 (use eps = 1e-15 in AdamW with it). SD3.5 has it, SD3-medium has not."""
    dual_blocks: tuple[int, ...] = ()
    """Blocks, the first is 0, whose image stream also attends to itself alone. SD3.5-medium: 0 to 12."""
    max_grid: int | None = None
    """Most latent positions per side of any size; None is the grid. SD3-medium 384, SD3.5-medium 768."""
    positions: str = "centred"
    """Rule of the position table: "centred" (the paper's), "stretched" (what diffusers starts from) or
    "stored" (a published checkpoint's own, kept in the weights)."""
    pretrained_grid: int | None = None
    """Latent positions per side in the first stage of training, for the "centred" rule; None is the grid.
    In the paper 256 pixels: 32."""
    attention: str = "auto"
    """How attention is computed, a row of ATTENTIONS. All agree up to rounding."""

    def __post_init__(self) -> None:
        for name in (
            "channels", "width", "depth", "heads", "grid", "sequence_width", "pooled_width", "patch_size"
        ):  # fmt: skip
            positive(name, getattr(self, name))
        one_of("positions", self.positions, POSITION_RULES)
        one_of("attention", self.attention, ATTENTIONS)
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"dit.width: expected a multiple of heads = {self.heads} and, for the position table, of 4, "
                f"got {self.width}"
            )
        for name in ("grid", "max_grid", "pretrained_grid"):
            value = getattr(self, name)
            if value is not None and value % self.patch_size:
                raise ValueError(
                    f"dit.{name}: expected a multiple of patch_size = {self.patch_size}, got {value}"
                )
        if self.table < self.side:
            raise ValueError(
                f"dit.max_grid: expected at least the grid {self.grid}, got {self.max_grid}; every size is a "
                "crop of that table"
            )
        strangers = [i for i in self.dual_blocks if not 0 <= i < self.depth]
        if strangers:
            raise ValueError(f"dit.dual_blocks: expected numbers from 0 to {self.depth - 1}, got {strangers}")

    @property
    def side(self) -> int:
        """Tokens per side of a square picture."""
        return self.grid // self.patch_size

    @property
    def table(self) -> int:
        """Tokens per side of the position table."""
        return (self.max_grid or self.grid) // self.patch_size

    @property
    def patch_channels(self) -> int:
        """Numbers in one token: C p^2."""
        return self.channels * self.patch_size**2


def depth_sizes(depth: int) -> dict[str, int]:
    """Return width 64 d, depth d and heads d: the paper's rule, there with d from 15 to 38.

    Raises:
        ValueError: depth is not positive.
    """
    positive("depth", depth)
    return {"width": 64 * depth, "depth": depth, "heads": depth}
