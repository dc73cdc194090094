"""What networks make of pictures, features and distances, and what a metric on them is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

PLAIN_NAMES: Mapping[str, str] = {"frechet": "fid", "inception_score": "inception_score"}
"""What metrics are called with the published Inception weights, and with these only."""

AT_ONCE = 64  # pictures


@dataclass(frozen=True)
class Backbone:
    """What makes features of pictures. Another backbone gives another metric, so its name is in the key."""

    name: str
    features: Callable[[np.ndarray], np.ndarray]
    """uint8 [B Hp Wp 3] to [B d]."""
    logits: Callable[[np.ndarray], np.ndarray] | None = None
    """uint8 [B Hp Wp 3] to logits of classes [B K]; None where it has no classes."""
    published: bool = False
    """Whether these are the published metric's weights, their hash checked; `metrics.published` says so."""

    def key(self, metric: str) -> str:
        """Return a metric's name on these features: plain with the published weights, else "metric@name"."""
        return PLAIN_NAMES[metric] if self.published and metric in PLAIN_NAMES else f"{metric}@{self.name}"


@dataclass(frozen=True)
class Distance:
    """How far two pictures are apart for a network."""

    name: str
    between: Callable[[Tensor, Tensor], Tensor]
    """Two batches of pixels [B 3 Hp Wp] in [0, 1] to [B]."""
    published: bool = False
    """Whether these are the published metric's weights, their hash checked; `metrics.published` says so."""
    sort: str = "distance"
    """What stands before the network's name, where the weights are not the published ones."""

    @property
    def key(self) -> str:
        """What the metric is called: by its plain name with the published weights only."""
        return self.name if self.published else f"{self.sort}@{self.name}"


def in_batches(make: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray) -> np.ndarray:
    """Return `make` of pictures, uint8 [n Hp Wp 3], a few at a time."""
    starts = range(0, len(pictures), AT_ONCE)
    return np.concatenate([np.asarray(make(pictures[start : start + AT_ONCE])) for start in starts])


def expect_features(name: str, features: np.ndarray, at_least: int = 1) -> np.ndarray:
    """Return features [n d] in float64.

    Raises:
        ValueError: another shape, too few rows, or numbers that are not finite.
    """
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or len(array) < at_least:
        raise ValueError(f"{name}: expected [n d] with n of at least {at_least}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected finite numbers, got {np.count_nonzero(~np.isfinite(array))} others"
        )
    return array
