"""Every judge by what it can be asked and by its name, and whether it was ever run with its real weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unimm.evaluation.judges.protocols import KINDS
from unimm.tables import pick

NEVER = "never yet"


@dataclass(frozen=True)
class Entry:
    """One way to get a judge."""

    make: Callable[..., Any]
    """`make(source, **options)`; the source is what `sources` says."""
    sources: str
    """What stands behind the colon in "name:source"; "" where nothing does."""
    official: str
    """The weights that the benchmark's authors, or most people, use with it."""
    run_on_real_weights: str = NEVER
    """When, where and with what result; the judge's own tests use small random weights."""


JUDGES: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
"""By kind (see `KINDS`), then by name."""


def load_judge(kind: str, spec: str, **options: Any) -> Any:
    """Return a judge, such as `load_judge("detector", "mask2former:/models/mask2former")`.

    Args:
        kind: a key of `KINDS`.
        spec: a name of `JUDGES[kind]`, with ":" and its source where it needs one.
        options: of that judge, such as device or name.

    Raises:
        ValueError: no such kind or name; a source is missing or superfluous.
        FileNotFoundError: the source is a folder that is not there.
    """
    name, _, source = spec.partition(":")
    entry = pick(kind, name, pick("kind of judge", kind, JUDGES))
    if bool(source) != bool(entry.sources):
        expected = f"{name}:{entry.sources}" if entry.sources else name
        raise ValueError(f"{kind}: expected {expected}, got {spec!r}")
    return entry.make(source, **options) if entry.sources else entry.make(**options)
