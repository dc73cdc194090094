"""What every latent space asks of the latents it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from unimm.shapes import expect, side_of


def grid_of(latents: Tensor, size: tuple[int, int] | None, channels: int) -> tuple[int, int]:
    """Return (rows, columns) of latents [B N C]: `size`, or a square where it is None.

    Raises:
        ValueError: another C, an N that does not fit the size, or no size for an N that is not a square.
    """
    num_tokens = expect("latents", latents, "B N C", C=channels)["N"]
    rows, columns = size or (side_of(num_tokens),) * 2
    if rows * columns != num_tokens:
        raise ValueError(f"latents: expected {rows} x {columns} = {rows * columns} tokens, got {num_tokens}")
    return rows, columns


def own_grid(size: tuple[int, int] | None, grid: int) -> None:
    """Raise a ValueError unless the size is None or the one square grid that a decoder has."""
    if size not in (None, (grid, grid)):
        raise ValueError(
            f"size: expected {grid} x {grid}, the grid of this decoder, got {size[0]} x {size[1]}"
        )


def finite(latents: Tensor) -> Tensor:
    """Return the latents as they are.

    Raises:
        ValueError: a value is not finite; the message names the picture.
    """
    broken = ~torch.isfinite(latents).flatten(1).all(1)
    if broken.any():
        where = broken.nonzero().flatten().tolist()
        raise ValueError(f"latents: expected finite numbers, got NaN or infinity in picture {where[0]}")
    return latents
