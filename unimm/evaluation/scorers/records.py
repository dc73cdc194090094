"""Records read with care: one line of JSON per thing judged.

A record with a text under "failed" stands for something that could not be judged, such as a broken picture,
and the text says why. It needs its identifying fields only. It counts as wrong and is counted in
`Scored.failed`, so that a mean never runs over fewer things without saying so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

FAILED = "failed"
"""The field of a record that says why its thing could not be judged."""

_SHOWN = 5  # names in a message


def field(record: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """Return a field of a record; `where` opens the message. Truth values are no numbers.

    Raises:
        ValueError: the field is absent, or of another kind.
    """
    if name not in record:
        raise ValueError(f"{where}: expected a field {name!r}, got {', '.join(map(str, record)) or 'none'}")
    value, wanted = record[name], kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        expected = " or ".join(kind.__name__ for kind in wanted)
        raise ValueError(f"{where}: {name}: expected {expected}, got {value!r}")
    return value


def has_failed(record: Mapping[str, Any]) -> bool:
    """Return whether a record says that its thing could not be judged."""
    return bool(record.get(FAILED))


def expect_once(what: str, names: Iterable[Hashable]) -> None:
    """Refuse records of which two are of the same thing.

    Raises:
        ValueError: some name stands twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{what}: expected one record each, got several of {some(twice)}; were two runs joined?"
        )


def count_missing(
    what: str, expected: Collection[Hashable], found: Collection[Hashable], allow_missing: bool
) -> int:
    """Return how many of the expected things have no record.

    Raises:
        ValueError: some are missing and that is not allowed, or there are records of other things.
    """
    known, have = set(expected), set(found)
    strange = [name for name in found if name not in known]
    if strange:
        raise ValueError(f"{what}: expected none but the benchmark's own, got {some(strange)}")
    missing = [name for name in expected if name not in have]
    if missing and not allow_missing:
        raise ValueError(
            f"{what}: expected {len(known)}, got {len(have)}; missing {some(missing)}; "
            f"score what is there with allow_missing"
        )
    return len(missing)


def some(names: Sequence[Hashable]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
