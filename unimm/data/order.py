"""The order of training samples: a pure function of (seed, epoch, position), with no state to save.

An epoch is a permutation of the data set, computed one index at a time: a small Feistel cipher on the next
even power of two, walked until it lands inside the set (Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

_NUM_ROUNDS = 6  # four pass for random permutations (Luby and Rackoff 1988); two more for narrow halves


def shuffled(num_samples: int, seed: int, start: int, count: int) -> np.ndarray:
    """Data-set indices at positions start ... start + count - 1 of an endless stream of shuffled epochs.

    Returns:
        int64 [count]; every epoch of `num_samples` positions holds each index once.

    Raises:
        ValueError: there are no samples, or a position is negative.
    """
    if start < 0 or count < 0:
        raise ValueError(f"positions: expected start and count of 0 or more, got {start} and {count}")
    epochs, places = epochs_of(np.arange(start, start + count, dtype=np.int64), num_samples)
    return by_epoch(epochs, places, lambda epoch, at: permute(at, num_samples, seed, epoch))


def epochs_of(positions: np.ndarray, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the epoch of each position of an endless stream, and its place in that epoch.

    Raises:
        ValueError: there are no samples.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected 1 or more, got {num_samples}; is the data set empty?")
    return np.divmod(positions, num_samples)


def by_epoch(
    epochs: np.ndarray, places: np.ndarray, indices_of: Callable[[int, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return `indices_of(epoch, places)` of every place in its own epoch."""
    indices = np.empty(len(places), dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        indices[chosen] = indices_of(int(epoch), places[chosen])
    return indices


def permute(places: np.ndarray, num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """Where the permutation of this (seed, epoch) sends each place; all in 0 ... num_samples - 1."""
    half_bits = max(1, (max(1, num_samples - 1).bit_length() + 1) // 2)
    keys = _round_keys(seed, epoch)
    values = _encipher(places.astype(np.uint64), keys, half_bits)
    while (outside := values >= num_samples).any():  # at most four times the set: a few walks
        values[outside] = _encipher(values[outside], keys, half_bits)
    return values.astype(np.int64)


def _round_keys(seed: int, epoch: int) -> np.ndarray:
    digest = hashlib.shake_256(f"order {seed} {epoch}".encode()).digest(8 * _NUM_ROUNDS)
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _encipher(values: np.ndarray, keys: np.ndarray, half_bits: int) -> np.ndarray:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """Stir 64 bits (the finaliser of SplitMix64, Steele et al. 2014); products wrap by design."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
