"""Aspect-ratio buckets: pictures keep their shape, batches hold one size each (SD3, arXiv 2403.03206)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from unimm.data.order import permute
from unimm.tables import expect_known


class Bucket(NamedTuple):
    """A size that pictures are brought to, in pixels."""

    height: int
    width: int


def aspect_buckets(base: int, multiple: int, max_ratio: float) -> list[Bucket]:
    """Return sizes of about base^2 pixels, from the tallest to the widest.

    For every long side from `base` on there is one bucket, whose short side brings the area nearest to
    base^2 (in ratio), and its transpose. Buckets come in the order of their width / height.

    Args:
        base: S, the side of the square bucket.
        multiple: what both sides are multiples of: 16 for an autoencoder of factor 8 and patches of 2.
        max_ratio: of long to short side, 1 or more; 1 leaves the square alone.

    Raises:
        ValueError: a number out of range, or a base that is no multiple of `multiple`.
    """
    for name, value in (("base", base), ("multiple", multiple), ("max_ratio", max_ratio)):
        if not value >= 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    if base % multiple:
        raise ValueError(f"base: expected a multiple of {multiple}, got {base}")
    wide = []
    for long in range(base, math.isqrt(int(base**2 * max_ratio)) + 2 * multiple, multiple):
        short = _nearest_multiple(base**2 / long, multiple)
        if long <= max_ratio * short:
            wide.append(Bucket(height=short, width=long))
    tall = [Bucket(height=long, width=short) for short, long in reversed(wide) if long > short]
    return tall + wide


def _nearest_multiple(x: float, multiple: int) -> int:
    """Return the multiple nearest to x in ratio, at least one."""
    below = max(1, int(x // multiple)) * multiple
    return below if x * x <= below * (below + multiple) else below + multiple


def nearest_buckets(sizes: np.ndarray, buckets: Sequence[Bucket]) -> np.ndarray:
    """Return the bucket of each picture, int64 [n]: the one whose log(width / height) is nearest.

    Args:
        sizes: [n 2], (height, width) of each picture in pixels.
        buckets: in any order; of two that are as near the narrower is taken.

    Raises:
        ValueError: no buckets, or sizes of another shape or not positive.
    """
    sizes = np.asarray(sizes)
    if not buckets:
        raise ValueError("buckets: expected at least one, got none")
    if sizes.ndim != 2 or sizes.shape[1] != 2:
        raise ValueError(f"sizes: expected [n 2] (height, width), got shape {sizes.shape}")
    wrong = np.flatnonzero((sizes < 1).any(axis=1))
    if len(wrong):
        raise ValueError(
            f"sizes: expected heights and widths of 1 or more, got {tuple(sizes[wrong[0]].tolist())} for "
            f"picture {wrong[0]}, the first of {len(wrong)} such"
        )
    ratios = np.log(sizes[:, 1] / sizes[:, 0])
    known = np.log([bucket.width / bucket.height for bucket in buckets])
    order = np.argsort(known, kind="stable")
    # Between two neighbours the border is halfway; only as much memory as the pictures need.
    borders = (known[order][1:] + known[order][:-1]) / 2
    return order[np.searchsorted(borders, ratios)]


def crop_box(height: int, width: int, bucket: Bucket) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of the largest centred part of a picture with the bucket's shape.

    In pixels of the picture, not rounded: the part has exactly the bucket's aspect ratio, so resizing it
    distorts nothing. It touches two opposite edges.
    """
    scale = min(height / bucket.height, width / bucket.width)
    kept_height, kept_width = bucket.height * scale, bucket.width * scale
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return left, top, min(left + kept_width, width), min(top + kept_height, height)


def fit_to_bucket(picture: np.ndarray, bucket: Bucket) -> np.ndarray:
    """Return uint8 [bucket.height bucket.width 3]: the box of a picture uint8 [H W 3], resized (bicubic).

    The filter at the box's edges sees what lies beyond them, as it would have before a crop.

    Raises:
        ValueError: no uint8 RGB picture.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture: expected uint8 [H W 3], got {picture.dtype} of shape {picture.shape}")
    box = crop_box(*picture.shape[:2], bucket)
    size = bucket.width, bucket.height
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=box))


REMAINDERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "drop": lambda counts, batch_size: counts // batch_size,
    "repeat": lambda counts, batch_size: -(-counts // batch_size),
}
"""Batches per bucket: what does not fill a batch waits for another epoch, or others of it come twice."""


class BucketBatches:
    """Batches of one bucket each, in an order that is a pure function of (seed, epoch, position).

    In every epoch the batches of all buckets are shuffled, and the pictures of each bucket among its
    batches. With ranks, rank r of R takes positions r, r + R, ...: sizes differ between ranks, the work
    hardly does.
    """

    def __init__(self, assigned: np.ndarray, batch_size: int, seed: int, remainder: str = "drop"):
        """Plan the batches.

        Args:
            assigned: int [n], the bucket of each picture, as `nearest_buckets` gives it.
            batch_size: pictures in every batch.
            seed: of the order.
            remainder: a row of REMAINDERS: "drop" or "repeat".

        Raises:
            ValueError: a number out of range, an unknown remainder, or not one full batch.
        """
        assigned = np.asarray(assigned)
        if assigned.ndim != 1 or not np.issubdtype(assigned.dtype, np.integer) or (assigned < 0).any():
            raise ValueError("assigned: expected integers of 0 or more, [n], one for each picture")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
        expect_known("remainder", remainder, REMAINDERS)
        self.batch_size, self.seed = batch_size, seed
        self.counts = np.bincount(assigned)
        self.num_batches = REMAINDERS[remainder](self.counts, batch_size)
        if not self.num_batches.sum():
            raise ValueError(
                f"batch_size: expected a bucket with {batch_size} pictures or more, got at most "
                f"{self.counts.max(initial=0)} in one of {len(assigned)}; use a smaller batch, fewer buckets "
                "(a larger multiple, a smaller max_ratio), or remainder='repeat'"
            )
        self._members = np.split(np.argsort(assigned, kind="stable"), np.cumsum(self.counts)[:-1])

    def __len__(self) -> int:
        """Batches in an epoch."""
        return int(self.num_batches.sum())

    @property
    def dropped(self) -> np.ndarray:
        """How many pictures of each bucket an epoch leaves out, int64 [buckets]; other ones each epoch."""
        return np.maximum(self.counts - self.num_batches * self.batch_size, 0)

    @property
    def repeated(self) -> np.ndarray:
        """How many places of each bucket an epoch fills with pictures it has shown, int64 [buckets]."""
        return np.maximum(self.num_batches * self.batch_size - self.counts, 0)

    @property
    def never_shown(self) -> int:
        """Pictures in buckets that fill no batch at all: no epoch shows them."""
        return int(self.counts[self.num_batches == 0].sum())

    def batch(self, position: int) -> tuple[int, np.ndarray]:
        """Return (bucket, pictures int64 [batch_size]) at a position of the endless stream of epochs.

        Raises:
            ValueError: the position is negative.
        """
        if position < 0:
            raise ValueError(f"position: expected 0 or more, got {position}")
        epoch, place = divmod(position, len(self))
        number = int(permute(np.array([place]), len(self), self.seed, epoch)[0])
        ends = np.cumsum(self.num_batches)
        bucket = int(np.searchsorted(ends, number, side="right"))
        first = (number - int(ends[bucket] - self.num_batches[bucket])) * self.batch_size
        members = self._members[bucket]
        places = np.arange(first, first + self.batch_size) % len(members)
        return bucket, members[permute(places, len(members), _seed_within(self.seed, bucket), epoch)]

    def report(self) -> str:
        """Return in one line what an epoch holds, leaves out and repeats."""
        line = (
            f"{len(self)} batches of {self.batch_size} in {int((self.num_batches > 0).sum())} buckets; "
            f"per epoch {int(self.dropped.sum())} of {int(self.counts.sum())} pictures left out, "
            f"{int(self.repeated.sum())} shown again"
        )
        return f"{line}; {self.never_shown} never shown" if self.never_shown else line


def _seed_within(seed: int, bucket: int) -> int:
    """Another seed for every bucket, so that equal counts are not shuffled alike."""
    return int.from_bytes(hashlib.shake_256(f"bucket {seed} {bucket}".encode()).digest(8), "little")
