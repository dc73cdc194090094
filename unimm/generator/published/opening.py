"""What the loaders of published files share: opening them, and naming the file whose tensors do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from unimm.files import read_tensors
from unimm.generator.saving import fill
from unimm.weights.folder import check_tables
from unimm.weights.keymap import KeyMap
from unimm.weights.wrapped import unwrapped


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the file's name before what is said of its tensors."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from None


def state_of(path: str | Path, choice: str, max_bytes: int) -> dict[str, Tensor]:
    """Return the state dict of a published file; of a training checkpoint, the one of that name."""
    return unwrapped(read_tensors(path, max_bytes), choice, str(path))


def fill_body(body: nn.Module, names: KeyMap, theirs: Mapping[str, Tensor]) -> None:
    """Give a planned body its published weights; the tables in the file must be the ones it computes."""
    parameters, tables = names.read(theirs)
    fill(body, parameters, names.name)
    check_tables(dict(body.named_buffers()), tables, names.name)


def published_body(body: nn.Module, names: KeyMap) -> dict[str, Tensor]:
    """Return a body's weights under their published names, with the tables that published files hold."""
    tables = {row.ours for row in names.rows if row.table}
    kept = {name: x for name, x in body.named_buffers() if name in tables and x.any()}  # zeros: none
    return names.write({**body.state_dict(), **kept})


def write_pickle(content: Mapping[str, Tensor | None], path: Path) -> None:
    """Write what the published code reads with torch.load: a flat dict of tensors on the CPU."""
    plain = {name: x if x is None else x.detach().cpu().clone().contiguous() for name, x in content.items()}
    torch.save(plain, path)
