"""Many samples in one row: less padding, the same losses.

Samples of a batch are put into rows first-fit decreasing (Johnson et al. 1974: at most 11/9 of the fewest
rows). Positions begin again with every sample and none sees another, so what is learnt from a sample is what
it would teach alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.parts import IGNORED, Batch, Run
from unimm.text.chat import Rendered

MULTIPLE = 64
"""Rows are padded to a multiple of this: few shapes, and whole tiles for the products."""


class Place(NamedTuple):
    """Where a sample begins."""

    row: int
    start: int


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[Place]:
    """Return where each sample stands, longest first into the first row with room; ties in their order.

    Args:
        lengths: positions of each sample, 1 or more.
        capacity: positions of a row.

    Raises:
        ValueError: a sample longer than a row.
    """
    if max(lengths, default=0) > capacity:
        raise ValueError(f"packing: expected samples of at most {capacity} positions, got {max(lengths)}")
    places, room = [Place(0, 0)] * len(lengths), []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, left in enumerate(room) if left >= lengths[index]), len(room))
        if row == len(room):
            room.append(capacity)
        places[index] = Place(row, capacity - room[row])
        room[row] -= lengths[index]
    return places


def one_each(lengths: Sequence[int], capacity: int) -> list[Place]:
    """Return where each sample stands if each has a row of its own."""
    if max(lengths, default=0) > capacity:
        raise ValueError(f"row_length: expected samples of at most {capacity} positions, got {max(lengths)}")
    return [Place(row, 0) for row in range(len(lengths))]


def laid_out(
    samples: Sequence[Rendered],
    places: Sequence[Place],
    pad: int,
    context_latents: Tensor | None = None,
    target_latents: Tensor | None = None,
) -> Batch:
    """Return samples at their places as one batch, right-padded to a multiple of MULTIPLE.

    Runs and latents stay in the order of the samples, wherever these stand: noise drawn for the J targets
    falls on the same pictures, packed or not. The first token of a sample has no label: nothing predicts it.

    Args:
        samples: rendered conversations.
        places: one for each.
        pad: id of the padding.
        context_latents: [I N C], by sample, then in reading order.
        target_latents: [J N C], the same.
    """
    lengths = [len(sample.ids) for sample in samples]
    num_rows = max(place.row for place in places) + 1
    longest = max(place.start + length for place, length in zip(places, lengths, strict=True))
    shape = (num_rows, -(-longest // MULTIPLE) * MULTIPLE)
    ids, labels = torch.full(shape, pad), torch.full(shape, IGNORED)
    mask, runs, stands = torch.zeros(shape, dtype=torch.bool), {True: [], False: []}, []
    for sample, (row, start), length in zip(samples, places, lengths, strict=True):
        there = (row, slice(start, start + length))
        ids[there], labels[there], mask[there] = torch.tensor(sample.ids), torch.tensor(sample.labels), True
        labels[row, start] = IGNORED
        stands.append(Run(row, start, length))
        for slots in sample.runs:
            runs[slots.target].append(Run(row, start + slots.start, slots.length))
    is_packed = num_rows < len(samples)
    return Batch(
        ids,
        labels,
        mask,
        context_runs=tuple(runs[False]),
        context_latents=context_latents,
        query_runs=tuple(runs[True]),
        target_latents=target_latents,
        samples=tuple(sorted(stands, key=lambda run: (run.row, run.start))) if is_packed else (),
    )


PLACINGS = {True: first_fit_decreasing, False: one_each}
"""Where samples stand, by whether they are packed."""


def filled_share(batch: Batch) -> float:
    """Return the share of positions that hold tokens, in (0, 1]."""
    return float(batch.attention_mask.float().mean())
