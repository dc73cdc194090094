"""Best of n: draw many, score them where they are, decode only those that are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Chosen(NamedTuple):
    """What was kept, best first."""

    candidates: Tensor  # [P keep ...]
    scores: Tensor | None  # [P keep], None if nothing was scored
    indices: Tensor  # [P keep] places among the n
    decoded: Any


def best_of(
    draw: Callable[[int], Tensor],
    score: Callable[[Tensor], Tensor] | None,
    decode: Callable[[Tensor], Any],
    n: int,
    keep: int = 1,
) -> Chosen:
    """Return the best `keep` of `n` candidates for each of P prompts; equal scores keep the order of drawing.

    Args:
        draw: `draw(n) -> [P n ...]`.
        score: `score([P n ...]) -> [P n]`, larger is better; None keeps the first ones unscored, for which
            n = keep.
        decode: turns the kept candidates [P keep ...] into what is shown; it never sees the others.
        n: candidates per prompt.
        keep: how many are kept.

    Raises:
        ValueError: keep is not in 1..n, or a choice without a score.
    """
    if not 1 <= keep <= n:
        raise ValueError(f"keep: expected 1 to n={n}, got {keep}")
    if score is None and keep < n:
        raise ValueError(f"score: choosing {keep} of {n} needs a score, got none")
    candidates = draw(n)
    prompts = candidates.shape[0]
    if score is None:
        indices, scores = torch.arange(n).expand(prompts, n), None
    else:
        found = score(candidates)
        if found.shape != (prompts, n):
            raise ValueError(f"score: expected [{prompts} {n}], got {tuple(found.shape)}")
        order = torch.sort(found.double().cpu(), dim=1, descending=True, stable=True)
        scores, indices = order.values[:, :keep], order.indices[:, :keep]
    rows = torch.arange(prompts)[:, None].to(candidates.device)
    kept = candidates[rows, indices.to(candidates.device)]
    return Chosen(kept, scores, indices, decode(kept))
