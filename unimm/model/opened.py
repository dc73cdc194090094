"""A model before it is in memory: everything that is checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from unimm.model.config import UniMMConfig
from unimm.model.loading import check_tokenizer, compare, expected, read_config, refuse_parts
from unimm.text.tokenizer import load_tokenizer
from unimm.weights.shards import stored_tensors


@dataclass(frozen=True)
class Opened:
    """A model's configuration, tensors and tokenizer; tensors are read from the disk when they are used."""

    config: UniMMConfig
    state: dict[str, Tensor]
    """Every tensor under our names, as it is stored."""
    tokenizer: Any
    """None where the folder has none."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """Published tensors that the model has no use for, and that its own do not give back bit by bit."""
    folder: Path | None = None
    """A folder of ours, whose files transformers reads itself; None where it is given the state."""

    @property
    def source(self) -> dict[str, Any]:
        """What transformers' `from_pretrained` is told to load from."""
        if self.folder is not None:
            return {"pretrained_model_name_or_path": self.folder}
        return {"pretrained_model_name_or_path": None, "state_dict": self.state}


def open_ours(
    cls: type[PreTrainedModel], folder: Path, parts: Mapping[str, Any], config: UniMMConfig | None = None
) -> Opened:
    """Return one of our folders as it is stored.

    Args:
        cls: UniMM.
        folder: as `save_pretrained` writes it.
        parts: what the caller gave besides; a folder of ours holds all of its own.
        config: instead of the folder's.

    Raises:
        FileNotFoundError: no config.json, no weights, or some of their files are missing.
        ValueError: a config of another model, parts, files that are damaged or disagree with their index, or
            tensors and tokens that do not fit the config, all listed.
    """
    config = config or read_config(folder)
    refuse_parts(folder, parts)
    state = stored_tensors(folder)
    compare(str(folder), state, *expected(cls, config))
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    if tokenizer is not None:
        check_tokenizer(tokenizer, config)
    return Opened(config, state, tokenizer, folder=folder)
