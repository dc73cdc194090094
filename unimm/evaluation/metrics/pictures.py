"""How alike two pictures are, pixel by pixel: PSNR and SSIM of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unimm.tables import pick

_LEVELS = 255  # data range of uint8
_AT_ONCE = 8  # pictures; SSIM holds five float64 maps of each


@dataclass(frozen=True)
class Window:
    """Over what SSIM takes its local means, as torchmetrics names it, and the border that does not count."""

    settings: Mapping[str, Any]
    border: int
    """Pixels on each side whose window would reach beyond the picture."""


WINDOWS: Mapping[str, Window] = {
    # Wang et al. 2004: a Gaussian of 1.5 pixels cut to 11 x 11.
    "gaussian": Window({"sigma": 1.5}, 5),
    # The default of scikit-image: 7 x 7, with variances of a sample, n / (n - 1) of the 49 pixels. That
    # factor in all variances is the same as its inverse in the constant beside them, K2 squared.
    "uniform": Window({"gaussian_kernel": False, "kernel_size": 7, "k2": 0.03 * (48 / 49) ** 0.5}, 3),
}


def psnr(true: np.ndarray, got: np.ndarray, least_error: float = 0.0) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each picture in dB, [B]; infinite for equal pictures.

    Args:
        true: uint8 [B Hp Wp 3].
        got: the same shape.
        least_error: what is counted at least as the mean squared error, in squared levels of 255.

    Raises:
        ValueError: other shapes or no uint8.
    """
    _expect_pairs(true, got)
    error = np.square(true.astype(np.float64) - got).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(_LEVELS**2 / np.maximum(error, least_error))


def ssim(true: np.ndarray, got: np.ndarray, window: str = "gaussian") -> np.ndarray:
    """Return the structural similarity of each picture, at most 1, [B]: the mean over channels and places.

    Wang et al. 2004, with K = (0.01, 0.03). The two windows give different numbers, so a metric names its
    own. torchmetrics makes the map; its own mean would count borders that it fills by reflection.

    Args:
        true: uint8 [B Hp Wp 3].
        got: the same shape.
        window: "gaussian" (11 x 11) or "uniform" (7 x 7).

    Raises:
        ValueError: other shapes, no uint8, an unknown window, or pictures smaller than it.
    """
    _expect_pairs(true, got)
    chosen = pick("ssim window", window, WINDOWS)
    side = 2 * chosen.border + 1
    if min(true.shape[1:3]) < side:
        raise ValueError(f"ssim: expected pictures of at least {side} pixels a side, got shape {true.shape}")
    pieces = [slice(start, start + _AT_ONCE) for start in range(0, len(true), _AT_ONCE)]
    return np.concatenate([_similarities(true[piece], got[piece], chosen) for piece in pieces])


def _similarities(true: np.ndarray, got: np.ndarray, window: Window) -> np.ndarray:
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = [torch.from_numpy(each.astype(np.float64)).permute(0, 3, 1, 2) for each in (got, true)]
    _, places = structural_similarity_index_measure(
        *pairs, data_range=float(_LEVELS), reduction="none", return_full_image=True, **window.settings
    )
    inside = slice(window.border, -window.border)
    return places[..., inside, inside].mean((1, 2, 3)).numpy()


def _expect_pairs(true: np.ndarray, got: np.ndarray) -> None:
    kinds = {true.dtype, got.dtype}
    if true.shape != got.shape or true.ndim != 4 or not len(true) or kinds != {np.dtype(np.uint8)}:
        raise ValueError(
            f"pictures: expected two uint8 arrays [B Hp Wp 3] of one shape, got {true.dtype} {true.shape} "
            f"and {got.dtype} {got.shape}"
        )
