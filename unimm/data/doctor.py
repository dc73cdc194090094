"""What a data set is like before it is trained on: what is in it, what is broken, how fast it reads."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from unimm.data.doctor_duplicates import Shared, Sightings
from unimm.data.doctor_leaks import Leak, Leaks
from unimm.data.doctor_masks import Mask, mask_of
from unimm.data.order import permute
from unimm.data.pictures import decode_picture, measure_picture, name_of, read_picture
from unimm.data.samples import BrokenSample, Sample, Source
from unimm.parts import IGNORED
from unimm.text.chat import render

LISTED = 20
"""Broken samples, leaks and duplicates that are spelled out; all are counted."""

SHARING = 4
"""Samples that are named of those that share a picture."""

THUMBNAIL = 192  # pixels


@dataclass(frozen=True)
class Checks:
    """What to look at.

    Args:
        limit: samples to read, spread over the whole source; 0 reads all.
        shown: of those, how many to show with their label masks.
        num_slots: tokens of a picture.
        leaks: prompts of benchmarks that must not be in the data; None: not looked for.
        seed: which samples.
    """

    limit: int = 1000
    shown: int = 6
    num_slots: int = 256
    leaks: Leaks | None = None
    seed: int = 0


@dataclass(frozen=True)
class Shown:
    """A sample as it would be trained on."""

    key: str
    mask: Mask
    thumbnails: tuple[Any, ...]
    """PIL pictures, in reading order."""


@dataclass
class Findings:
    """What was found in the samples that were read.

    Numbers are counted by value and faults listed only as long as they are shown, so that a whole source can
    be read; what grows with it is `seen`, by 16 bytes a picture.
    """

    samples: int = 0
    checked: int = 0
    seconds: float = 0.0
    """Spent reading rows and the bytes of their pictures."""
    decode_seconds: float = 0.0
    bytes: int = 0
    pictures: int = 0
    drawn: int = 0
    wordings: Counter = field(default_factory=Counter)
    labels: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    widths: Counter = field(default_factory=Counter)
    heights: Counter = field(default_factory=Counter)
    tokens: Counter = field(default_factory=Counter)
    labelled: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    broken: list[BrokenSample] = field(default_factory=list)
    """The first of them."""
    num_leaks: int = 0
    leaks: list[tuple[str, Leak]] = field(default_factory=list)
    """The first of them."""
    seen: Sightings = field(default_factory=Sightings)
    shared: Shared = Shared()
    """The samples that share a picture."""
    duplicates: list[list[str]] = field(default_factory=list)
    """The most shared of them: the first samples of each."""
    shown: list[Shown] = field(default_factory=list)

    @property
    def num_broken(self) -> int:
        return sum(self.kinds.values())


def chosen(source: Source, limit: int, seed: int = 0) -> Sequence[int]:
    """Return the numbers of the samples to read: all, or `limit` spread over the source; in stored order.

    Of a source without random access these are the first ones.
    """
    total = len(source)
    count = min(limit, total) if limit else total
    if count == total or not source.random_access:
        return range(count)
    return np.sort(permute(np.arange(count), total, seed, 0))


class Places:
    """Where the samples of a source are, by their numbers in its stored order."""

    def __init__(self, source: Source):
        self.shards, self.ends = source.shards, list(accumulate(source.shards))

    def at(self, number: int) -> tuple[int, int]:
        """Return (shard, row)."""
        shard = bisect_right(self.ends, number)
        return shard, int(number) - (self.ends[shard] - self.shards[shard])


def examine(
    source: Source,
    tokenizer: PreTrainedTokenizerFast,
    checks: Checks,
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Read samples and say what was found.

    Args:
        source: what to read.
        tokenizer: counts tokens and makes the label masks.
        checks: what to look at.
        progress: called with (samples read, samples to read).
    """
    found, places = Findings(samples=len(source)), Places(source)
    numbers = chosen(source, checks.limit, checks.seed)
    every = max(1, len(numbers) // checks.shown) if checks.shown else 0
    for number in numbers:
        show = bool(every) and len(found.shown) < checks.shown and found.checked >= every * len(found.shown)
        try:
            sample, contents = _read(source, places.at(number), found)
            thumbnails = _check_pictures(sample, contents, found)
            found.seen.add(number, contents)
            _check_words(sample, tokenizer, checks, found)
            if show:
                mask = mask_of(sample, tokenizer, checks.num_slots)
                found.shown.append(Shown(sample.key, mask, thumbnails))
        except BrokenSample as broken:
            found.kinds[broken.kind] += 1
            if len(found.broken) < LISTED:
                found.broken.append(broken)
        found.checked += 1
        if progress is not None:
            progress(found.checked, len(numbers))
    found.shared = found.seen.shared(LISTED, SHARING)
    found.duplicates = [[source.key(places.at(number)) for number in each] for each in found.shared.first]
    return found


def _read(source: Source, place: tuple[int, int], found: Findings) -> tuple[Sample, list[bytes]]:
    """Return a sample and the files of its pictures."""
    start = time.perf_counter()
    sample = source[place]
    contents = [read_picture(image.image, sample.key) for image in sample.images]
    found.seconds += time.perf_counter() - start
    found.bytes += sum(map(len, contents))
    return sample, contents


def _check_pictures(sample: Sample, contents: Sequence[bytes], found: Findings) -> tuple[Any, ...]:
    """Decode a sample's pictures, count them, and return them small."""
    thumbnails = []
    for image, content in zip(sample.images, contents, strict=True):
        name = name_of(image.image)
        start = time.perf_counter()
        facts = measure_picture(content, sample.key, name)
        picture = decode_picture(content, sample.key, name)
        found.decode_seconds += time.perf_counter() - start
        found.pictures, found.drawn = found.pictures + 1, found.drawn + image.target
        found.formats[f"{facts.format} {facts.mode}"] += 1
        found.widths[picture.width] += 1
        found.heights[picture.height] += 1
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        thumbnails.append(picture)
    return tuple(thumbnails)


def _check_words(sample: Sample, tokenizer, checks: Checks, found: Findings) -> None:
    row = render(sample.turns, tokenizer, checks.num_slots)
    found.tokens[len(row.ids)] += 1
    found.labelled[sum(label != IGNORED for label in row.labels)] += 1
    if sample.wordings:
        found.wordings[", ".join(sample.wordings)] += 1
    if sample.label is not None:
        found.labels[sample.label] += 1
    if checks.leaks is not None:
        leaks = [(sample.key, leak) for text in _all_texts(sample) for leak in checks.leaks.find(text)]
        found.num_leaks += len(leaks)
        found.leaks += leaks[: LISTED - len(found.leaks)]


def _all_texts(sample: Sample) -> set[str]:
    """Return the words of every wording."""
    turns = list(sample.turns) + [turn for each in sample.wordings.values() for turn in each]
    return {part.text for turn in turns for part in turn.parts if hasattr(part, "text")}


def spread(counts: Mapping[int, int]) -> Mapping[str, float]:
    """Return least, median, 95th percentile, most and mean of numbers; nothing of none.

    Args:
        counts: how often each number was found.
    """
    if not counts:
        return {}
    values, times = np.array(sorted(counts.items()), dtype=float).T
    ends = np.cumsum(times)

    def share(part: float) -> float:
        """Return the number below which a part of all lies, between its neighbours if it falls between."""
        rank = part * (ends[-1] - 1)
        low, high = values[np.searchsorted(ends, [math.floor(rank), math.ceil(rank)], side="right")]
        return float(low + (rank - math.floor(rank)) * (high - low))

    return {
        "least": float(values[0]),
        "median": share(0.5),
        "p95": share(0.95),
        "most": float(values[-1]),
        "mean": float(values @ times / ends[-1]),
    }
