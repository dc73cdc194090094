"""One benchmark's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm.evaluation.scored import Scored
from unimm.tables import pick

Rule = Callable[..., Scored]
"""`rule(records, **options) -> Scored`; a record is one line of JSON."""


@dataclass(frozen=True)
class Scorer:
    """The rules of one benchmark under every protocol that people quote."""

    name: str
    version: int
    """Of our reading of the rules; scores of different versions do not compare."""
    protocols: Mapping[str, Rule]
    """By name; the first is the default."""

    def score(
        self, records: Sequence[Mapping[str, Any]], protocol: str | None = None, **options: Any
    ) -> Scored:
        """Return what the records score.

        Raises:
            ValueError: an unknown protocol, or records that the rules cannot read.
        """
        chosen = next(iter(self.protocols)) if protocol is None else protocol
        return pick(f"{self.name} protocol", chosen, self.protocols)(records, **options)
