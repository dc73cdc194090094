"""Pictures that stand in several samples of a data set, byte for byte."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shared:
    """Pictures that several samples have."""

    pictures: int = 0
    samples: int = 0
    """Of each picture, added up: a sample with two such pictures counts twice."""
    first: tuple[tuple[int, ...], ...] = ()
    """Numbers of the samples of some pictures, most shared first."""


class Sightings:
    """Which samples hold which picture: 16 bytes of memory for each, and about 20 more while `shared` looks.

    A picture is known by 64 bits of its hash. That two different ones among n are taken for the same has odds
    of n^2 / 2^65: 1 in 3,700 for a hundred million.
    """

    def __init__(self):
        self._hashes, self._samples = array("Q"), array("Q")

    def add(self, sample: int, contents: Iterable[bytes]) -> None:
        """Note the pictures of a sample, which count once in it however often they stand there."""
        for number in {_hash(content) for content in contents}:
            self._hashes.append(number)
            self._samples.append(sample)

    def shared(self, pictures: int, samples: int) -> Shared:
        """Return what was seen in several samples; in `first` so many pictures, with so many samples each."""
        hashes = np.array(self._hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")  # so that samples stay in the order they came in
        hashes = hashes[order]
        same, several = hashes[1:] == hashes[:-1], np.zeros(len(hashes), dtype=bool)
        several[1:] |= same
        several[:-1] |= same
        order = order[several]
        _, starts, counts = np.unique(hashes[several], return_index=True, return_counts=True)
        most = np.lexsort((order[starts], -counts))[:pictures]
        places = (order[starts[each] : starts[each] + min(counts[each], samples)] for each in most)
        first = tuple(tuple(self._samples[place] for place in each) for each in places)
        return Shared(len(counts), len(order), first)


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
