"""SwiGLUs of odd hidden width made even: round sizes multiply faster, and the function is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.dit.blocks import swiglu_width

GATE_VALUE = "gate_value.weight"


def round_up(width: int, multiple: int = 64) -> int:
    """Return the next multiple: 5461 -> 5504."""
    return -(-width // multiple) * multiple


def pad_swiglu(state: Mapping[str, Tensor], multiple: int = 64) -> dict[str, Tensor]:
    """Return a body's state with the hidden width of each SwiGLU rounded up.

    The new units have gate 0 and value 0, and the output does not read them: nothing is added to any sum
    but zeros. Their gradients are 0 too, so they stay asleep in training.

    Args:
        state: our names of a body; tensors of other modules are given back as they are.
        multiple: 64 or 128 suit GPUs; 5461 becomes 5504 either way.
    """
    padded_state = dict(state)
    for stem in (name.removesuffix(GATE_VALUE) for name in state if name.endswith(GATE_VALUE)):
        width = state[f"{stem}out.weight"].shape[1]
        extra = round_up(width, multiple) - width
        for kind in ("weight", "bias"):
            name = f"{stem}gate_value.{kind}"
            padded_state[name] = torch.cat([_with_rows(part, extra) for part in state[name].chunk(2)])
        padded_state[f"{stem}out.weight"] = F.pad(state[f"{stem}out.weight"], (0, extra))
    return padded_state


def padded(config: Any, multiple: int = 64) -> Any:
    """Return the config whose body has the hidden widths that `pad_swiglu` gives.

    Raises:
        ValueError: its MLPs are no SwiGLUs.
    """
    if config.mlp != "swiglu":
        raise ValueError(
            f"dit.mlp: expected 'swiglu', got {config.mlp!r}; other widths are even as published"
        )
    of = {"mlp_width": "width", "head_mlp_width": "head_width"}
    widths = {
        name: getattr(config, name) or swiglu_width(getattr(config, width))
        for name, width in of.items()
        if hasattr(config, name)
    }
    return replace(config, **{name: round_up(width, multiple) for name, width in widths.items()})


def _with_rows(x: Tensor, extra: int) -> Tensor:
    return F.pad(x, (0, 0) * (x.dim() - 1) + (0, extra))
