"""How wide a velocity network must be (Theorem 1 of RAE, arXiv 2510.11690)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def width_bound(width: int, channels: int, eigenvalues: Tensor | None = None) -> float:
    """Return what the flow-matching loss of a network of inner width d cannot go below.

    A network v(x_t) = B f(A x_t, t) whose inner width d is below the width n of a token leaves at least
    the n - d smallest eigenvalues of Cov(e - x) unexplained, however deep it is. From d = n on nothing is.

    Args:
        width: d, of the last layer before the output; of a wide head, the head's.
        channels: n, numbers in one token: C p^2.
        eigenvalues: [n] of Cov(e - x). Then the bound is their sum, in units of the loss summed over the
            token; without, it is (n - d) / n, the share of the loss for a single data point.

    Raises:
        ValueError: eigenvalues of another count.
    """
    missing = max(0, channels - width)
    if eigenvalues is None:
        return missing / channels
    if eigenvalues.shape != (channels,):
        raise ValueError(f"eigenvalues: expected [{channels}], got {list(eigenvalues.shape)}")
    return float(torch.sort(eigenvalues.double()).values[:missing].sum())


def output_width(config: Any) -> int:
    """Return the width of the layers that end in the velocity: the head's, where there is one."""
    return getattr(config, "head_width", config.width)


def refuse_narrow(config: Any, allow_narrow: bool = False) -> None:
    """Raise a ValueError if a body is too narrow for its latents; for recipes, before they spend a day.

    Networks and loaders never refuse: narrow ones were published for narrow comparisons.

    Args:
        config: of any body of BODIES.
        allow_narrow: the recipe's own word for it.
    """
    width, channels = output_width(config), config.channels * config.patch_size**2
    if width >= channels or allow_narrow:
        return
    name = "head_width" if hasattr(config, "head_width") else "width"
    raise ValueError(
        f"dit.{name}: expected at least the {channels} numbers of one latent token, got {width}: by "
        f"Theorem 1 of RAE (n - d) / n = {width_bound(width, channels):.3f} of the loss on a single picture "
        "can never be learned, whatever the depth; widen it, add a wide head (kind ddt), or set "
        "allow_narrow=true"
    )
