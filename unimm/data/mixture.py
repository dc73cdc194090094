"""Which sample stands at a position: a pure function of seed and position, over many sources and shards.

Nothing is drawn and nothing has to be saved: a run that goes on, with as many workers and ranks as it likes,
asks for the positions it has not seen. Finding one costs the same anywhere in the stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from unimm.data.order import by_epoch, epochs_of, permute

SCALE = 2**40
"""Shares are whole numbers of this: sums of them are exact, however far into the stream."""


class Places(NamedTuple):
    """Where samples come from, each [K] int64."""

    source: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    epoch: np.ndarray
    """How often the source has been gone through before."""


@dataclass(frozen=True)
class ShardOrder:
    """The order of one source.

    Shuffled across all of its rows; or, for sources that are read best from front to back, shard after shard
    in an order of their own, rows shuffled among `shards_at_once` shards that stand together in it.
    """

    rows: tuple[int, ...]
    """Rows of each shard."""
    seed: int
    shards_at_once: int | None = None
    """None: rows of all shards are shuffled together."""

    def __post_init__(self) -> None:
        if not sum(self.rows):
            raise ValueError("source: expected at least one sample, got none; is the data set empty?")
        if min(self.rows) < 0:
            raise ValueError(f"source: expected row counts of 0 or more, got {min(self.rows)}")
        if self.shards_at_once is not None and self.shards_at_once < 1:
            raise ValueError(f"shards_at_once: expected 1 or more, got {self.shards_at_once}")

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return shard, row and epoch of positions [K] in this source's own endless stream."""
        epochs, places = epochs_of(positions, sum(self.rows))
        flat = by_epoch(epochs, places, self._flat)
        ends = _ends(self.rows)
        shards = np.searchsorted(ends, flat, side="right")
        return shards, flat - (ends[shards] - np.array(self.rows)[shards]), epochs

    def _flat(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return rows, counted through all shards in their stored order."""
        if self.shards_at_once is None:
            return permute(places, sum(self.rows), self.seed, epoch)
        order, ends, windows = _windows(self.rows, self.seed, self.shards_at_once, epoch)
        window = np.searchsorted(windows, places, side="right")
        for number in np.unique(window):
            chosen = window == number
            first = windows[number - 1] if number else 0
            size = int(windows[number] - first)
            places[chosen] = first + permute(
                places[chosen] - first, size, self.seed ^ (int(number) + 1), epoch
            )
        at = np.searchsorted(ends, places, side="right")
        counts = np.array(self.rows)
        row = places - (ends[at] - counts[order][at])
        return _ends(self.rows)[order[at]] - counts[order[at]] + row


@lru_cache(maxsize=64)
def _ends(rows: tuple[int, ...]) -> np.ndarray:
    return np.cumsum(np.array(rows, dtype=np.int64))


@lru_cache(maxsize=64)
def _windows(
    rows: tuple[int, ...], seed: int, shards_at_once: int, epoch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an epoch's order of shards, where each ends in it, and where each window of them ends."""
    order = permute(np.arange(len(rows)), len(rows), seed, epoch)
    ends = np.cumsum(np.array(rows, dtype=np.int64)[order])
    last = np.minimum(np.arange(shards_at_once, len(rows) + shards_at_once, shards_at_once), len(rows)) - 1
    return order, ends, ends[last]


class Mixture:
    """Sources mixed by weight: in every block of the stream each has its share, to within one sample."""

    def __init__(self, sources: Sequence[ShardOrder], weights: Sequence[float], seed: int):
        """Mix them.

        Args:
            sources: the order of each.
            weights: their shares, positive, in any unit.
            seed: of the order in which they take turns.

        Raises:
            ValueError: no sources, another number of weights, or one that is not a positive number.
        """
        if not sources or len(sources) != len(weights):
            raise ValueError(
                f"weights: expected one for each of at least one source, "
                f"got {len(weights)} for {len(sources)}"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise ValueError(f"weights: expected positive numbers, got {list(weights)}")
        self.sources, self.seed = tuple(sources), seed
        total = math.fsum(weights)
        self._shares = [round(math.fsum(weights[: i + 1]) / total * SCALE) for i in range(len(weights))]
        least = min(high - low for low, high in pairwise([0, *self._shares]))
        if least < SCALE // 2**20:
            raise ValueError(f"weights: expected each at least a millionth of their sum, got {list(weights)}")
        self._block = max(1024, -(-SCALE // least))  # every source is in every block, as its size below needs

    def locate(self, positions: np.ndarray) -> Places:
        """Return where the samples at positions [K], each 0 or more, are to be found."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and positions.min() < 0:
            raise ValueError(f"positions: expected 0 or more, got {positions.min()}")
        source, own = self._turns(positions)
        shard, row, epoch = (np.empty(len(positions), dtype=np.int64) for _ in range(3))
        for number in np.unique(source):
            chosen = source == number
            shard[chosen], row[chosen], epoch[chosen] = self.sources[number].locate(own[chosen])
        return Places(source, shard, row, epoch)

    def after(self, position: int, skipped: int) -> tuple[int, int, int]:
        """Return source, shard and row of what its source gives `skipped` places after a position's sample.

        It stands in for one that cannot be used, so the sources keep their shares.
        """
        source, own = self._turns(np.array([position], dtype=np.int64))
        shard, row, _ = self.sources[source[0]].locate(own + skipped)
        return int(source[0]), int(shard[0]), int(row[0])

    def _turns(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whose turn it is at each position, and the position in that source's own stream."""
        blocks, places = np.divmod(positions, self._block)
        source, own = np.empty_like(positions), np.empty_like(positions)
        for block in np.unique(blocks):
            chosen, before = blocks == block, self._taken(int(block))
            counts = tuple((self._taken(int(block) + 1) - before).tolist())
            takers, earlier = _turns_in(counts, self.seed, int(block))
            source[chosen] = takers[places[chosen]]
            own[chosen] = before[source[chosen]] + earlier[places[chosen]]
        return source, own

    def _taken(self, blocks: int) -> np.ndarray:
        """Return how many samples each source has given in the first so many blocks.

        Rounding the shares' sums, not the shares, makes every block add up. A source's count never falls
        from block to block, because its share of one is at least a sample.
        """
        sums = [share * blocks * self._block // SCALE for share in self._shares]
        return np.diff(np.array([0, *sums], dtype=np.int64))


@lru_cache(maxsize=8)
def _turns_in(counts: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whose turn it is at each place of a block, and how many turns it had there before; both int32.

    A source gives its samples in its own order: a stream is read from front to back, and of shards that
    stand together only a few are open.
    """
    slots = permute(np.arange(sum(counts)), sum(counts), seed, block)
    takers = np.searchsorted(np.cumsum(counts), slots, side="right").astype(np.int32)
    earlier = np.empty_like(takers)
    for number, count in enumerate(counts):
        earlier[takers == number] = np.arange(count)
    return takers, earlier
