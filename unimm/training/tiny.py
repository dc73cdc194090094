"""Packing a trained model for shipping: bfloat16, in shards that any host of repositories takes."""

from __future__ import annotations

from pathlib import Path

import torch

from unimm.model.unimm import UniMM

SHARD = "15MB"
LIMIT = 20_000_000  # bytes, all files together


def pack(model: str | Path, into: str | Path) -> None:
    """Write a model folder's parameters in bfloat16 to another folder.

    Raises:
        ValueError: the packed folder is larger than the limit for shipped weights.
    """
    UniMM.from_pretrained(str(model)).save_pretrained(into, dtype=torch.bfloat16, max_shard_size=SHARD)
    size = sum(path.stat().st_size for path in Path(into).iterdir())
    if size > LIMIT:
        raise ValueError(f"{into}: expected at most {LIMIT} bytes, got {size}; make the model smaller")
