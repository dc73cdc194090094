"""What a data set is like before it is trained on: what is in it, what is broken, how fast it reads."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from unimm.data.doctor_leaks import Leak, Leaks
from unimm.data.doctor_masks import Mask, mask_of
from unimm.data.order import permute
from unimm.data.pictures import decode_picture, measure_picture, name_of, read_picture
from unimm.data.samples import BrokenSample, Sample, Source
from unimm.parts import IGNORED
from unimm.text.chat import render

LISTED = 20
"""Broken samples, leaks and duplicates that are spelled out; all are counted."""

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
    """What was found in the samples that were read."""

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
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    kinds: Counter = field(default_factory=Counter)
    broken: list[BrokenSample] = field(default_factory=list)
    """The first of them."""
    leaks: list[tuple[str, Leak]] = field(default_factory=list)
    seen: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    shown: list[Shown] = field(default_factory=list)

    @property
    def num_broken(self) -> int:
        return sum(self.kinds.values())

    @property
    def duplicates(self) -> list[list[str]]:
        """The samples that share a picture, byte for byte, most shared first."""
        return sorted((keys for keys in self.seen.values() if len(keys) > 1), key=len, reverse=True)


def places(source: Source, limit: int, seed: int = 0) -> list[tuple[int, int]]:
    """Return which (shard, row) to read: all, or `limit` spread over the source, in their stored order.

    Of a source without random access these are the first ones.
    """
    total = len(source)
    count = min(limit, total) if limit else total
    if count == total or not source.random_access:
        flat = np.arange(count)
    else:
        flat = np.sort(permute(np.arange(count), total, seed, 0))
    ends = np.cumsum(np.array(source.shards, dtype=np.int64))
    shards = np.searchsorted(ends, flat, side="right")
    rows = flat - (ends[shards] - np.array(source.shards, dtype=np.int64)[shards]) if count else flat
    return list(zip(shards.tolist(), rows.tolist(), strict=True))


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
    found, chosen = Findings(samples=len(source)), places(source, checks.limit, checks.seed)
    every = max(1, len(chosen) // checks.shown) if checks.shown else 0
    for number, place in enumerate(chosen):
        show = bool(every) and len(found.shown) < checks.shown and number >= every * len(found.shown)
        try:
            _check(source, place, tokenizer, checks, found, show)
        except BrokenSample as broken:
            found.kinds[broken.kind] += 1
            if len(found.broken) < LISTED:
                found.broken.append(broken)
        found.checked += 1
        if progress is not None:
            progress(number + 1, len(chosen))
    return found


def _check(source: Source, place, tokenizer, checks: Checks, found: Findings, show: bool) -> None:
    start = time.perf_counter()
    sample = source[place]
    contents = [read_picture(image.image, sample.key) for image in sample.images]
    found.seconds += time.perf_counter() - start
    found.bytes += sum(map(len, contents))
    thumbnails = _check_pictures(sample, contents, found)
    _check_words(sample, tokenizer, checks, found)
    if checks.leaks is not None:
        found.leaks += [(sample.key, leak) for text in _all_texts(sample) for leak in checks.leaks.find(text)]
    if show:
        found.shown.append(Shown(sample.key, mask_of(sample, tokenizer, checks.num_slots), thumbnails))


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
        found.widths.append(picture.width)
        found.heights.append(picture.height)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        thumbnails.append(picture)
    for digest in {hashlib.blake2b(content, digest_size=16).digest() for content in contents}:
        found.seen[digest].append(sample.key)
    return tuple(thumbnails)


def _check_words(sample: Sample, tokenizer, checks: Checks, found: Findings) -> None:
    row = render(sample.turns, tokenizer, checks.num_slots)
    labelled = sum(label != IGNORED for label in row.labels)
    found.tokens.append(len(row.ids))
    found.labelled.append(labelled)
    if sample.wordings:
        found.wordings[", ".join(sample.wordings)] += 1
    if sample.label is not None:
        found.labels[sample.label] += 1


def _all_texts(sample: Sample) -> set[str]:
    """Return the words of every wording."""
    turns = list(sample.turns) + [turn for each in sample.wordings.values() for turn in each]
    return {part.text for turn in turns for part in turn.parts if hasattr(part, "text")}


def spread(values: Sequence[int]) -> Mapping[str, float]:
    """Return least, median, 95th percentile, most and mean of numbers; nothing of none."""
    if not values:
        return {}
    array = np.asarray(values, dtype=float)
    low, middle, high = np.percentile(array, [50, 95, 100])
    return {
        "least": float(array.min()),
        "median": float(low),
        "p95": float(middle),
        "most": float(high),
        "mean": float(array.mean()),
    }
