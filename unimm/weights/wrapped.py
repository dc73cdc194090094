"""Training checkpoints: which state dict inside is meant, and what wrappers put before its names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def unwrapped(
    checkpoint: Mapping[str, Any], choice: str = "ema", name: str = "checkpoint"
) -> dict[str, Tensor]:
    """Return the state dict of a published file, without the wrappers' prefixes.

    Args:
        checkpoint: a flat state dict, or a training checkpoint that holds several under names such as
            "ema" and "model" beside its optimizer; "_orig_mod." and "module." may stand before the names.
        choice: which of them; not looked at where the file is flat.
        name: what the caller calls the file; it opens the message.

    Raises:
        ValueError: the chosen one is absent, holds other things than tensors, or some names carry a
            wrapper's prefix and some do not.
    """
    state: Mapping[str, Any] = checkpoint
    if any(isinstance(value, Mapping) for value in checkpoint.values()):
        state = checkpoint.get(choice)
        if not isinstance(state, Mapping):
            within = sorted(key for key, value in checkpoint.items() if isinstance(value, Mapping))
            raise ValueError(f"{name}: expected a state dict under {choice!r}, found {', '.join(within)}")
    others = sorted(key for key, value in state.items() if not isinstance(value, Tensor))
    if others or not state:
        raise ValueError(f"{name}: expected names of tensors, got {', '.join(others) or 'nothing'}")
    return _bare(state, name)


def _bare(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        prefixed = [key for key in state if key.startswith(wrapper)]
        if prefixed and len(prefixed) < len(state):
            bare = next(key for key in state if not key.startswith(wrapper))
            raise ValueError(
                f"{name}: {wrapper!r} stands before {len(prefixed)} of {len(state)} names, not before "
                f"{bare!r}; these are the tensors of more than one module"
            )
        if prefixed:
            return _bare({key.removeprefix(wrapper): x for key, x in state.items()}, name)
    return dict(state)
