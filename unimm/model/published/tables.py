"""Constant tables in published files: checked against those that we compute, and kept where bits differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.model.config import UniMMConfig
from unimm.weights.folder import check_tables
from unimm.weights.keymap import KeyMap, changes

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
HALF_TOLERANCE = 1e-2
"""Of tables stored in 16 bits, which round them to 2^-8."""


def constants_of(cls: type[PreTrainedModel], config: UniMMConfig) -> dict[str, Tensor]:
    """Return the constants of a model's diffusion transformer by their names in the whole, float32."""
    with torch.device("meta"):
        body = cls(config).dit
    body.positions = torch.empty(0, device="cpu")  # they are computed where this one is
    body.reset_tables()
    return {f"dit.{name}": x for name, x in body.named_buffers() if not x.is_meta}


def kept_tables(
    names: KeyMap, computed: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Check the constants of a file; return which there are and which of them have other bits than ours.

    Args:
        names: of the module.
        computed: our constants, by our names.
        theirs: the published tensors.

    Returns:
        "tables": dtype of every constant by its published name; "kept": the tensors that ours, in that
        dtype, are not equal to.

    Raises:
        ValueError: a constant that is another one than ours: another network.
    """
    tables, kept = {}, {}
    for row in names.rows:
        published, (read, write) = row.theirs[0], changes(row.form)
        if not row.table or published not in theirs:
            continue
        x = theirs[published]
        check_tables(computed, {row.ours: read(x)}, names.name, TOLERANCE.get(x.dtype, HALF_TOLERANCE))
        tables[published] = str(x.dtype).removeprefix("torch.")
        if not torch.equal(write(computed[row.ours]).to(x.dtype), x):
            kept[published] = x
    return {"tables": tables, "kept": kept}
