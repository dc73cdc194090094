"""Where a loss stopped being a number: the first room that put out something that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

_SKIPPED = ContextVar("skipped", default=False)


@contextmanager
def watching(policy: str) -> Iterator[None]:
    """Inside, `refuse_nonfinite` raises under the policy "stop"; under "skip" the loop looks at the losses.

    A rank that raised before its backward pass would leave the others waiting.
    """
    token = _SKIPPED.set(policy == "skip")
    try:
        yield
    finally:
        _SKIPPED.reset(token)


def refuse_nonfinite(
    loss: Tensor,
    t: Tensor,
    each: Tensor,
    given: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    again: Callable[[], Any],
) -> None:
    """Raise a FloatingPointError that says at which t and in which room, if the loss is not finite.

    Args:
        loss: what is to be minimised. Looking at it waits for an accelerator once per step.
        t: [B] times of the samples.
        each: [B] losses of the samples.
        given: what the step was given, by name: looked at before the networks.
        modules: the stage's modules by name.
        again: computes the loss once more from the same draws; called only to find the room.
    """
    if _SKIPPED.get() or torch.isfinite(loss):
        return
    broken = ~torch.isfinite(each)
    times = t[broken] if broken.any() else t
    shown = ", ".join(f"{time:.4f}" for time in times[:4].tolist()) + (", ..." if len(times) > 4 else "")
    raise FloatingPointError(
        f"expected a finite loss, got {float(loss.detach())} at t = {shown}; it first appeared in "
        f"{first_room(given, modules, again)}"
    )


def first_room(
    given: Mapping[str, Tensor], modules: Mapping[str, nn.Module], again: Callable[[], Any]
) -> str:
    """Return the name of what first was not finite: a weight, an input, a module's output, or the loss."""
    for module_name, module in modules.items():
        for name, parameter in module.named_parameters():
            if not torch.isfinite(parameter).all():
                return f"the weights of {module_name}.{name} (an earlier update left them so)"
    for name, x in given.items():
        if not torch.isfinite(x).all():
            return f"the {name} the step was given"
    found: list[str] = []
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), _watched(modules, found):
        again()
    return found[0] if found else "the loss itself"


@contextmanager
def _watched(modules: Mapping[str, nn.Module], found: list[str]) -> Iterator[None]:
    """Inside, note the name of every module that puts out something that is not finite, in order."""
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not all(torch.isfinite(x).all() for x in _tensors(output)):
                found.append(name)

        handles.append(module.register_forward_hook(look))

    for module_name, module in modules.items():
        for path, inner in module.named_modules():
            watch(f"{module_name}.{path}".rstrip("."), inner)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
