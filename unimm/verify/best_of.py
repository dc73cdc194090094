"""Best of n: draw many, score them where they are, decode only those that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unimm.request import passes

Place = tuple[int, int]
"""A candidate: the index of its prompt, and its own among the n of that prompt."""


class Chosen(NamedTuple):
    """What was kept, best first, and what it took."""

    candidates: Tensor  # [P keep ...]
    scores: Tensor | None  # [P keep] float64, NaN where the score was no number; None if nothing was scored
    indices: Tensor  # [P keep] places among the n
    decoded: Any
    drawn: tuple[int, ...]  # [P] how many candidates were drawn
    failed: tuple[Place, ...]  # candidates whose score was no finite number, in drawing order


def best_of(
    draw: Callable[[Sequence[Place]], Tensor],
    score: Callable[[Tensor, Sequence[Place]], Tensor] | None,
    decode: Callable[[Tensor], Any],
    num_prompts: int,
    n: int,
    keep: int = 1,
    *,
    together: int | None = None,
    enough: Callable[[Sequence[float]], bool] | None = None,
) -> Chosen:
    """Return the best `keep` of `n` candidates for each of P prompts; equal scores keep the order of drawing.

    A score that is no finite number ranks last. What is not kept is let go after each piece, so that n is
    bounded by time alone.

    Args:
        draw: `draw(places) -> [M ...]`, a candidate for each place.
        score: `score([M ...], places) -> [M]`, larger is better; None keeps the first ones unscored, for
            which n = keep.
        decode: turns the kept candidates [P keep ...] into what is shown; it never sees the others.
        num_prompts: P.
        n: candidates per prompt.
        keep: how many are kept.
        together: how many candidates are drawn and scored at a time; None is all of a round.
        enough: given, drawing goes in rounds, and a prompt is left alone once this is true of its finite
            scores so far, best first.

    Raises:
        ValueError: keep is not in 1..n, a choice without a score, or another number of scores.
    """
    if not 1 <= keep <= n:
        raise ValueError(f"keep: expected 1 to n={n}, got {keep}")
    if score is None and keep < n:
        raise ValueError(f"score: choosing {keep} of {n} needs a score, got none")
    shelves = [_Shelf(keep) for _ in range(num_prompts)]
    open_prompts = list(range(num_prompts))
    for indices in _rounds(n, keep, in_one=enough is None):
        places = [(prompt, index) for prompt in open_prompts for index in indices]
        for piece in passes(len(places), together or len(places)):
            candidates = draw(places[piece])
            scores = _scores(score, candidates, places[piece])
            for (prompt, index), value, candidate in zip(places[piece], scores, candidates, strict=True):
                shelves[prompt].put(value, index, candidate)
        if enough is not None:
            open_prompts = [prompt for prompt in open_prompts if not enough(shelves[prompt].ranked())]
    return _chosen(shelves, score is not None, decode)


def gap_reached(margin: float, keep: int) -> Callable[[Sequence[float]], bool]:
    """Return whether the last kept of scores, best first, is ahead of the first not kept by `margin`."""
    return lambda scores: len(scores) > keep and scores[keep - 1] - scores[keep] >= margin


def level_reached(level: float, keep: int) -> Callable[[Sequence[float]], bool]:
    """Return whether `keep` of the scores, best first, are at least `level`."""
    return lambda scores: len(scores) >= keep and scores[keep - 1] >= level


class _Shelf:
    """The best candidates of one prompt so far, and the scores of all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: list[tuple[float, int, Tensor]] = []
        self.scores: list[float] = []

    def put(self, score: float, index: int, candidate: Tensor) -> None:
        """Keep a candidate if it is among the best; those before it win where scores are equal."""
        self.scores.append(score)
        place = sum(_rank(other) >= _rank(score) for other, _, _ in self.kept)
        if place < self.size:
            self.kept.insert(place, (score, index, candidate.clone()))  # a view would hold its whole piece
            del self.kept[self.size :]

    def ranked(self) -> list[float]:
        """Return the finite scores, best first."""
        return sorted((s for s in self.scores if math.isfinite(s)), reverse=True)


def _rank(score: float) -> float:
    return score if math.isfinite(score) else -math.inf


def _rounds(n: int, keep: int, in_one: bool) -> Iterator[range]:
    """Yield which candidates each round draws.

    With an early stop, the first round has one more than is kept, so that there is a gap to see, and each
    further one as many as were drawn before: few rounds, at most twice what was needed.
    """
    start, size = 0, n if in_one else keep + 1
    while start < n:
        yield range(start, min(start + size, n))
        start, size = start + size, start + size


def _scores(score: Callable | None, candidates: Tensor, places: Sequence[Place]) -> list[float]:
    if score is None:
        return [0.0] * len(places)
    found = score(candidates, places)
    if found.shape != (len(places),):
        raise ValueError(f"score: expected [{len(places)}], got {list(found.shape)}")
    return found.double().tolist()


def _chosen(shelves: Sequence[_Shelf], scored: bool, decode: Callable[[Tensor], Any]) -> Chosen:
    kept = torch.stack([torch.stack([candidate for _, _, candidate in shelf.kept]) for shelf in shelves])
    values = [[s if math.isfinite(s) else math.nan for s, _, _ in shelf.kept] for shelf in shelves]
    return Chosen(
        kept,
        torch.tensor(values, dtype=torch.float64) if scored else None,
        torch.tensor([[index for _, index, _ in shelf.kept] for shelf in shelves]),
        decode(kept),
        tuple(len(shelf.scores) for shelf in shelves),
        tuple(
            (p, i)
            for p, shelf in enumerate(shelves)
            for i, s in enumerate(shelf.scores)
            if not math.isfinite(s)
        ),
    )
