"""Sine positions of patches: one large table, cropped around its centre for every size of picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def centred_coordinates(table: int, side: int, pretrained: int) -> np.ndarray:
    """Return (p - (h_max - s) / 2) pretrained / s for p = 0 .. h_max - 1, float64 [table].

    The rule for tuning at mixed aspect ratios (SD3, arXiv 2403.03206, "positional encodings for varying
    aspect ratios"; pretrained / s is 256 / S there): the central s x s patches of the table span exactly
    the coordinates 0 .. pretrained that the first stage saw, whatever the resolution; rows and columns
    beyond them extend the range.

    Args:
        table: h_max, patches per side of the largest picture.
        side: s, patches per side of a square picture of the area that is now trained.
        pretrained: patches per side in the first stage of training; 16 in the paper.
    """
    return (np.arange(table, dtype=np.float64) - (table - side) / 2) * pretrained / side


def stretched_coordinates(table: int, side: int, pretrained: int) -> np.ndarray:
    """Return p side / table for p = 0 .. table - 1: what diffusers builds before it loads a checkpoint.

    The coordinate 0 is the corner of the table, so cropping moves every coordinate; published checkpoints
    bring tables of their own instead. `pretrained` plays no part.
    """
    return np.arange(table, dtype=np.float64) * side / table


Coordinates = Callable[[int, int, int], np.ndarray]
POSITION_RULES: dict[str, Coordinates] = {
    "centred": centred_coordinates,
    "stretched": stretched_coordinates,
    "stored": centred_coordinates,  # until a checkpoint's own are loaded
}


def sine_axis(coordinates: np.ndarray, width: int) -> Tensor:
    """Return [sin | cos] of the coordinates over width/2 frequencies 10000^(-k / (width/2)), [table width].

    Computed in float64 on the CPU, returned in float32.
    """
    frequencies = 10000.0 ** (-np.arange(width // 2, dtype=np.float64) / (width // 2))
    angles = coordinates[:, None] * frequencies
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


class CroppedPositions(nn.Module):
    """Position vectors for any size up to table x table patches.

    A sine table is separable: the first half of a vector depends on the column, the second on the row.
    So two tables [table W/2] are kept instead of one of [table^2 W] (2.4 MB, not 906 MB, for SD3.5 medium),
    and a crop is put together where it is needed: one copy of [M W], nothing beside a block's work on it,
    and nothing to go stale when the module moves or is compiled.
    """

    def __init__(self, width: int, table: int, side: int, pretrained: int, rule: str = "centred"):
        """Build the tables.

        Args:
            width: W, a multiple of 4.
            table, side, pretrained: as in `centred_coordinates`.
            rule: a row of POSITION_RULES. "stored" tables are a checkpoint's own and part of the state;
                the others are recomputed.
        """
        super().__init__()
        self.width, self.table, self.side, self.pretrained, self.rule = width, table, side, pretrained, rule
        for name in ("columns", "rows"):
            self.register_buffer(name, torch.empty(table, width // 2), persistent=rule == "stored")
        self._fill()

    def forward(self, rows: int, columns: int) -> Tensor:
        """Return the central rows x columns patches of the table, float32 [M W] in reading order.

        Raises:
            ValueError: the table has fewer.
        """
        if not (1 <= rows <= self.table and 1 <= columns <= self.table):
            raise ValueError(
                f"size: expected 1 to {self.table} patches per side, got {rows} x {columns}; the position "
                "table holds no more (dit.max_grid)"
            )
        top, left = (self.table - rows) // 2, (self.table - columns) // 2
        across = self.columns[left : left + columns].expand(rows, -1, -1)
        down = self.rows[top : top + rows, None].expand(-1, columns, -1)
        return torch.cat([across, down], dim=-1).flatten(0, 1)

    def reset_tables(self) -> None:
        """Recompute the tables in float32 on the device where they are, unless they are a checkpoint's."""
        if self.rule != "stored":
            self._fill()

    def _fill(self) -> None:
        axis = sine_axis(POSITION_RULES[self.rule](self.table, self.side, self.pretrained), self.width // 2)
        self.columns = axis.to(self.columns.device)
        self.rows = axis.clone().to(self.rows.device)  # one tensor under two names cannot be saved

    def _apply(self, fn, recurse: bool = True):
        """Move as usual, but keep the tables float32 and, off the meta device, filled."""
        kept = self.columns, self.rows
        super()._apply(fn, recurse)
        if self.rule == "stored" and not kept[0].is_meta:
            self.columns, self.rows = (x.to(self.columns.device) for x in kept)
        self.reset_tables()
        return self
