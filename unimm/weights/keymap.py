"""A table of tensor names that reads in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unimm.weights.folder import refuse

State = Mapping[str, Tensor]
Form = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""(published -> ours, ours -> published)."""

FORMS: dict[str, Form] = {
    "same": (lambda x: x, lambda x: x),
    "pointwise": (lambda x: x.flatten(1), lambda x: x[:, :, None, None]),  # 1x1 convolution
    "row": (lambda x: x.squeeze(0), lambda x: x[None]),  # a leading dimension of 1
    "vector": (lambda x: x.flatten(), lambda x: x[None, None]),  # [1 1 W]
    "pairs": (lambda x: x[:, ::2], lambda x: x.repeat_interleave(2, dim=1)),  # every angle stored twice
    "negated": (lambda x: -x, lambda x: -x),  # a velocity that pointed from noise to data
    "after_class": (  # [1 1+N W] with a class token's row of zeros
        lambda x: x[0, 1:],
        lambda x: torch.cat([torch.zeros_like(x[:1]), x])[None],
    ),
}


def convolution(patch_size: int) -> Form:
    """Return the form of a p x p convolution of stride p: [W C p p] there, [W C*p*p] here."""
    return lambda x: x.flatten(1), lambda x: x.unflatten(1, (-1, patch_size, patch_size))


def changes(form: str | Form) -> Form:
    """Return the pair that a row's form stands for."""
    return FORMS[form] if isinstance(form, str) else form


@dataclass(frozen=True)
class Entry:
    """One row of the table; `{i}` in both names stands for a layer number."""

    ours: str
    theirs: tuple[str, ...]
    """One published name, or several whose tensors are stacked along dimension 0 in ours."""
    form: str | Form = "same"
    """How the tensor changes: a name from FORMS, or a pair such as `convolution(2)`."""
    optional: bool = False
    """May be absent, on either side."""
    table: bool = False
    """A constant that we recompute: read apart from the parameters, written when given."""

    def at(self, i: int) -> Entry:
        """Return this row for layer i."""
        ours, *theirs = (name.replace("{i}", str(i)) for name in (self.ours, *self.theirs))
        return replace(self, ours=ours, theirs=tuple(theirs))


def layer(ours: str, *theirs: str, form: str | Form = "same") -> tuple[Entry, Entry]:
    """Return the rows of a linear layer or norm; only the weight changes form."""
    return (
        Entry(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), form),
        Entry(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs)),
    )


@dataclass(frozen=True)
class KeyMap:
    """Every tensor of one published module, each in one row."""

    name: str
    rows: tuple[Entry, ...]
    unused: tuple[str, ...] = ()
    """Patterns of published tensors that we do not build; they may be there and are left out."""

    def read(self, theirs: State, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return (parameters, tables) under our names, from published names.

        Args:
            theirs: a published state dict; names that do not start with `prefix` are not looked at.
            prefix: what stands before the names of this map.

        Raises:
            ValueError: missing or unexpected names, all of them listed with their prefix.
        """
        found = {name.removeprefix(prefix): x for name, x in theirs.items() if name.startswith(prefix)}
        rows = list(self._rows(found, lambda row: row.theirs))
        self._refuse_gaps(rows, found, lambda row: row.theirs, prefix, self.unused)
        parameters, tables = {}, {}
        for row in rows:
            if row.theirs[0] in found:
                parts = [changes(row.form)[0](found[name]) for name in row.theirs]
                side = tables if row.table else parameters
                side[row.ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return parameters, tables

    def check(self, theirs: Collection[str]) -> None:
        """Refuse published names that are missing or unexpected; `read` does so too.

        Raises:
            ValueError: there are some; all are listed.
        """
        found = dict.fromkeys(theirs)
        rows = list(self._rows(found, lambda row: row.theirs))
        self._refuse_gaps(rows, found, lambda row: row.theirs, "", self.unused)

    def write(self, ours: State, prefix: str = "") -> dict[str, Tensor]:
        """Return published names from ours; give tables (buffers) too where the reader expects them.

        Raises:
            ValueError: missing or unexpected names, all of them listed.
        """
        rows = list(self._rows(ours, lambda row: (row.ours,)))
        self._refuse_gaps(rows, ours, lambda row: (row.ours,), "", ())
        theirs = {}
        for row in rows:
            if row.ours in ours:
                for name, part in zip(row.theirs, ours[row.ours].chunk(len(row.theirs)), strict=True):
                    theirs[prefix + name] = changes(row.form)[1](part).contiguous()
        return theirs

    def _rows(self, found: State, names) -> Iterator[Entry]:
        """Yield the rows, those with `{i}` once for every layer up to the highest found."""
        for row in self.rows:
            if "{i}" not in row.ours:
                yield row
                continue
            for i in range(num_layers(found, names(row)[0].split("{i}")[0])):
                yield row.at(i)

    def _refuse_gaps(self, rows, found, names, prefix, unused) -> None:
        known = {name for row in rows for name in names(row)}
        needed = {
            name
            for row in rows
            if not (row.optional or row.table) or any(n in found for n in names(row))
            for name in names(row)
        }
        strangers = {n for n in found if n not in known and not any(re.fullmatch(p, n) for p in unused)}
        missing = needed - found.keys()
        if missing and (stray := common_prefix(missing, strangers)):
            raise ValueError(
                f"{self.name}: every name starts with {prefix + stray!r}: read it with "
                f"prefix={prefix + stray!r}, after making sure that it is the module you mean"
            )
        refuse(
            self.name,
            missing=[prefix + n for n in missing],
            unexpected=[prefix + n for n in strangers],
        )


def common_prefix(missing: Collection[str], strangers: Collection[str]) -> str:
    """Return what stands before every missing name among the strangers; "" where there is no such thing."""
    first = min(missing)
    prefixes = (name.removesuffix(first) for name in strangers if name.endswith(first))
    fitting = (prefix for prefix in prefixes if all(prefix + name in strangers for name in missing))
    return min(fitting, key=len, default="")


def num_layers(found: State, stem: str) -> int:
    """Return one more than the highest layer number after the stem, and at least 1."""
    numbers = (re.match(re.escape(stem) + r"(\d+)\.", name) for name in found)
    return 1 + max((int(m[1]) for m in numbers if m), default=0)
