"""Patches: p x p neighbouring latents as one token of the network, and back."""

from __future__ import annotations

from torch import Tensor


def gather_patches(x: Tensor, rows: int, columns: int, patch_size: int) -> Tensor:
    """Return tokens [B M C*p*p], M = N / p^2, patches in reading order.

    Inside a patch the order is channel, row, column: that of a convolution's flattened weights.

    Args:
        x: [B N C] latents in reading order, N = rows * columns.
        rows, columns: of the latents.
        patch_size: p; 1 changes nothing.

    Raises:
        ValueError: rows or columns are no multiple of p.
    """
    if patch_size == 1:
        return x
    _refuse_remainders(rows, columns, patch_size)
    x = x.unflatten(1, (rows // patch_size, patch_size, columns // patch_size, patch_size))
    return x.permute(0, 1, 3, 5, 2, 4).flatten(3).flatten(1, 2)


def scatter_patches(tokens: Tensor, rows: int, columns: int, patch_size: int) -> Tensor:
    """Return latents [B N C] in reading order from tokens [B M p*p*C].

    Inside a patch the order is row, column, channel, as the final layers of DiT, SiT, LightningDiT and
    SD3 have it: it is not that of `gather_patches`. The arguments are.
    """
    if patch_size == 1:
        return tokens
    _refuse_remainders(rows, columns, patch_size)
    x = tokens.unflatten(2, (patch_size, patch_size, -1))
    x = x.unflatten(1, (rows // patch_size, columns // patch_size))
    return x.transpose(2, 3).flatten(1, 4)


def _refuse_remainders(rows: int, columns: int, patch_size: int) -> None:
    if rows % patch_size or columns % patch_size:
        raise ValueError(
            f"latents: expected rows and columns that are multiples of the patch size {patch_size}, "
            f"got {rows} x {columns}"
        )
