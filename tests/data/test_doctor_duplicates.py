"""Pictures in several samples: found, counted and named like a plain dictionary does, in far less memory."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict

import numpy as np

from unimm.data.doctor_duplicates import Shared, Sightings


def sightings(samples):
    found = Sightings()
    for number, contents in samples:
        found.add(number, contents)
    return found


def test_shared_pictures_are_those_of_a_plain_dictionary():
    rng = np.random.default_rng(0)
    samples = [(number, [bytes([each]) for each in rng.integers(0, 40, 3)]) for number in range(10, 60)]
    seen = defaultdict(list)
    for number, contents in samples:
        for content in dict.fromkeys(contents):
            seen[content].append(number)
    groups = sorted((group for group in seen.values() if len(group) > 1), key=lambda g: (-len(g), g[0]))
    found = sightings(samples).shared(1000, 1000)
    assert (found.pictures, found.samples) == (len(groups), sum(map(len, groups)))
    assert sorted(found.first) == sorted(map(tuple, groups))
    assert [len(group) for group in found.first] == [len(group) for group in groups]
    assert sightings(samples).shared(5, 2).first == tuple(group[:2] for group in found.first[:5])


def test_a_picture_twice_in_one_sample_is_not_shared():
    assert sightings([(0, [b"a", b"a"]), (1, [b"b"]), (2, [])]).shared(9, 9) == Shared()
    assert Sightings().shared(9, 9) == Shared()


def test_the_most_shared_come_first_and_of_equals_the_earliest():
    samples = enumerate([[b"a"], [b"b", b"c"], [b"b"], [b"a"], [b"c"], [b"c"], [b"d"]])
    assert sightings(samples).shared(9, 9) == Shared(3, 7, ((1, 4, 5), (0, 3), (1, 2)))


def test_a_picture_costs_sixteen_bytes():
    count = 20_000
    tracemalloc.start()
    try:
        found = sightings((number, [number.to_bytes(4, "little")]) for number in range(count))
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found.shared(20, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20 * count, "an array has room for an eighth more"
    assert peak - kept < 30 * count
