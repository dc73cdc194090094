"""The legend of dimension letters, the check that speaks them, and the geometry of a square grid.

B batch            T text positions     N latent tokens       Q queries
D LLM width        C latent channels    W DiT width           Z condition width
Hp Wp pixels       V vocabulary         I context images      J target images
L text tokens      S text width         P pooled text width   M patches of latents (DiT tokens)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def has_values(x: Tensor) -> bool:
    """Return whether there are values to check that cost nothing to look at.

    A compiled graph and a tensor that is only a shape have none, and an accelerator would be waited for.
    """
    return (
        type(x) is Tensor and x.device.type == "cpu" and x.numel() > 0 and not torch.compiler.is_compiling()
    )


def expect(name: str, x: Tensor, spec: str, **sizes: int) -> dict[str, int]:
    """Check x against a spec such as "B N C"; return the size of every letter.

    Args:
        name: what the caller calls x; it opens the message.
        x: any tensor.
        spec: one word per dimension: a letter of the legend, or a number such as "3".
        sizes: letters whose size is already known.

    Raises:
        ValueError: another number of dimensions, or a letter with two sizes.
    """
    letters, got = spec.split(), tuple(x.shape)
    if len(got) != len(letters):
        raise ValueError(f"{name}: expected [{spec}] ({len(letters)} dimensions), got shape {got}")
    seen = dict(sizes)
    for letter, size in zip(letters, got, strict=True):
        want = int(letter) if letter.isdigit() else seen.setdefault(letter, size)
        if want != size:
            raise ValueError(f"{name}: expected [{spec}] with {letter}={want}, got {size} in shape {got}")
    return seen


def side_of(num_tokens: int, name: str = "latents") -> int:
    """Return the side of the square grid that holds num_tokens tokens.

    Raises:
        ValueError: num_tokens is not a square.
    """
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise ValueError(f"{name}: expected a square number of tokens, got {num_tokens}")
    return side


def sincos_table(grid: int, width: int, step: float = 1.0) -> Tensor:
    """Return the fixed position table [grid*grid width] of the masked autoencoder.

    The first half of the width encodes the column, the second half the row; each is [sin | cos]
    over width/4 frequencies with base 10000. Tokens are in reading order, `step` apart. (He et al. 2022.)
    The table is computed in float64 on the CPU whatever device is current, and returned in float32.

    Raises:
        ValueError: width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width: a 2-D sine table needs a multiple of 4, got {width}")
    frequencies = step * 10000.0 ** (-np.arange(width // 4, dtype=np.float64) / (width // 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = [place[:, None] * frequencies for place in (column, row)]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    return torch.from_numpy(table.astype(np.float32))
