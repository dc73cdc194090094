"""What stands in for a sample that cannot be used: the next that its source has, and a note of why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from unimm.data.samples import BrokenSample

Used = TypeVar("Used")

MAX_REPLACED = 100
"""Broken samples in a row after which something is wrong with all of them."""


@dataclass(frozen=True)
class Spot:
    """Where a sample is."""

    source: int
    shard: int
    row: int


@dataclass(frozen=True)
class Skipped:
    """A sample that was not used, and why."""

    position: int
    """Where it would have stood, or stood in for another."""
    source: str
    """The path, as the recipe names it: files of several sources may have one name."""
    shard: int
    row: int
    key: str
    kind: str  # one of `samples.KINDS`, "length" or "silence"
    reason: str


class Unusable(ValueError):
    """A sound sample that cannot be learnt from here, and why."""

    def __init__(self, key: str, reason: str, kind: str):
        super().__init__(key, reason, kind)
        self.key, self.reason, self.kind = key, reason, kind


def first_usable(
    position: int,
    spot_after: Callable[[int], Spot],
    use: Callable[[Spot], Used],
    paths: Sequence[str],
    option: str = "data.sources",
) -> tuple[Used, tuple[Skipped, ...]]:
    """Return what is made of the first sample that can be used, and those that it stands in for.

    Args:
        position: in the stream.
        spot_after: where the sample at so many places after the position's own is; 0 is its own.
        use: makes something of a sample; raises BrokenSample or Unusable.
        paths: of the sources, as the recipe names them.
        option: where it does.

    Raises:
        ValueError: MAX_REPLACED in a row cannot be used.
    """
    skipped: list[Skipped] = []
    for number in range(MAX_REPLACED):
        spot = spot_after(number)
        try:
            return use(spot), tuple(skipped)
        except (BrokenSample, Unusable) as error:
            place = (paths[spot.source], spot.shard, spot.row)
            skipped.append(Skipped(position, *place, error.key, error.kind, error.reason))
    last = skipped[-1]
    raise ValueError(
        f"{option}: none of {MAX_REPLACED} samples from position {position} on can be used; the last: "
        f"{last.key}: {last.reason}; `unimm data doctor {last.source}` says what is wrong"
    )
