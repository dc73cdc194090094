"""What a forward pass leaves for the backward one, and its operations, counted on shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


class Pass(NamedTuple):
    """One room's forward pass, and what its backward pass leaves."""

    saved_bytes: int
    """Held until the backward pass: activations, and weights in the compute dtype where they were cast."""
    flops: int
    """Of the forward pass, a multiply and an add each; the backward pass has twice as many."""
    gradient_bytes: int = 0
    """Of the room's parameters, once its backward pass is through."""
    transient_bytes: int = 0
    """Held only while the forward pass is in the room."""


def peak_bytes(passes: Sequence[Pass], kept_gradients: int | None) -> int:
    """Return the most that activations and gradients take together, in bytes.

    Rooms are gone through in order, and backwards in the opposite order: what a room saved is let go while
    its gradients come to be.

    Args:
        passes: in order of the forward pass.
        kept_gradients: bytes of gradients that are there all the time, because micro-batches add to them or
            ZeRO has a place for them; None where they come to be in each backward pass.
    """
    held = most = 0
    for one in passes:
        most = max(most, held + one.saved_bytes + one.transient_bytes)
        held += one.saved_bytes
    if kept_gradients is not None:
        return most + kept_gradients
    for one in reversed(passes):
        held += one.gradient_bytes - one.saved_bytes
        most = max(most, held)
    return most


def count_pass(forward: Callable[[], object], parameters: Sequence[Tensor], precision: str) -> Pass:
    """Run a forward pass on fake tensors, inside their mode, and count.

    Args:
        forward: runs the pass; what it reads needs gradients where training would have them.
        parameters: kept anyway, and not counted as saved.
        precision: "bf16" runs under autocast.
    """
    held: dict[int, int] = {}
    kept = {storage_of(parameter) for parameter in parameters}

    def pack(x: Tensor) -> Tensor:
        if storage_of(x) not in kept:
            held[storage_of(x)] = x.untyped_storage().nbytes()
        return x

    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    counter = FlopCounterMode(display=False)
    alive = []  # a freed storage's place may be given to another
    with counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), cast:
        alive.append(forward())
    gradients = sum(parameter.nbytes for parameter in parameters if parameter.requires_grad)
    return Pass(sum(held.values()), counter.get_total_flops(), gradients)


def storage_of(x: Tensor) -> int:
    """Return what names the memory behind a tensor."""
    return x.untyped_storage()._cdata
