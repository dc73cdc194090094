"""Vectors into text: images and queries take the places their placeholders hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unimm.parts import Run


def positions(runs: Sequence[Run], device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """Return the row and the column of every slot of equally long runs, each [I N] int64."""
    table = torch.tensor([(run.row, run.start) for run in runs], dtype=torch.long, device=device).reshape(
        -1, 2
    )
    offsets = torch.arange(runs[0].length if runs else 0, device=device)
    columns = table[:, 1:] + offsets
    return table[:, :1].expand_as(columns), columns


def splice(embeds: Tensor, vectors: Tensor, runs: Sequence[Run]) -> Tensor:
    """Return text embeddings with each run of slots replaced by its image's vectors.

    Args:
        embeds: [B T D] token embeddings; not modified.
        vectors: [I N D], one image per run, in the runs' order; brought to the dtype and device of
            `embeds`.
        runs: I places, each N long.

    Raises:
        ValueError: runs and images differ in number or length, or a run leaves the text. Going on would
            shift every later image and still train, so we stop.
    """
    _check(embeds, vectors, runs)
    if not runs:
        return embeds
    return embeds.index_put(positions(runs, embeds.device), vectors.to(embeds))


def gather(states: Tensor, runs: Sequence[Run]) -> Tensor:
    """Return the states [I N D] standing at the runs of states [B T D]: the reverse of `splice`."""
    return states[positions(runs, states.device)]


def _check(embeds: Tensor, vectors: Tensor, runs: Sequence[Run]) -> None:
    if embeds.ndim != 3 or vectors.ndim != 3 or vectors.shape[-1] != embeds.shape[-1]:
        raise ValueError(
            f"splice: expected [B T D] and [I N D], got {tuple(embeds.shape)} and {tuple(vectors.shape)}"
        )
    if len(runs) != vectors.shape[0]:
        raise ValueError(
            f"splice: expected one image per run, got {vectors.shape[0]} images for {len(runs)} runs"
        )
    rows, width = embeds.shape[:2]
    for run in runs:
        if run.length != vectors.shape[1]:
            raise ValueError(
                f"splice: expected {run.length} vectors for the run at row {run.row}, got {vectors.shape[1]}"
            )
        if not (0 <= run.row < rows and run.start >= 0 and run.start + run.length <= width):
            raise ValueError(f"splice: {run} leaves a text of {rows} rows and {width} positions")
