"""What one room's passes take, forward and backward, counted while they run on shapes.

Nothing is guessed from a formula: a room is run as training runs it, on tensors that have no numbers, and
what stands in memory meanwhile is added up. What lets gradients through, what is frozen, what is computed
again and what autocast casts is thereby as the model has it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count


class Pass(NamedTuple):
    """One room's forward pass and its backward pass. Bytes are beside the room's parameters and buffers."""

    saved_bytes: int = 0
    """Held from the forward to the backward pass: activations, results, weights that autocast had to cast."""
    forward_bytes: int = 0
    """The most that stands while the forward pass is in the room."""
    backward_bytes: int = 0
    """The most that stands while the backward pass is, gradients included as they come."""
    gradient_bytes: int = 0
    """Of the room's parameters, where they had no gradients before."""
    forward_flops: int = 0
    """A multiply and an add each; so for the backward pass, where what is computed again counts again."""
    backward_flops: int = 0

    @property
    def flops(self) -> int:
        """Of both passes."""
        return self.forward_flops + self.backward_flops


def peak_bytes(passes: Sequence[Pass]) -> int:
    """Return the most that activations and gradients take together, in bytes.

    Rooms are gone through in order, and backwards in the opposite order: what a room saved is let go while
    its gradients come to be.

    Args:
        passes: in order of the forward pass.
    """
    held = most = 0
    for one in passes:
        most = max(most, held + one.forward_bytes)
        held += one.saved_bytes
    for one in reversed(passes):
        held -= one.saved_bytes
        most = max(most, held + one.backward_bytes)
        held += one.gradient_bytes
    return most


def count_pass(
    forward: Callable[[], Tensor | Iterable[Tensor]],
    modules: nn.Module | Iterable[nn.Module],
    precision: str,
    times: int = 1,
) -> Pass:
    """Run a room forward and, as far as something in it learns, backward; inside the mode of fake tensors.

    Args:
        forward: runs the pass and returns what later rooms read. What it reads is made inside; it needs
            gradients where training would have them.
        modules: whose parameters and buffers are kept anyway, and not counted.
        precision: "bf16" runs forward under autocast.
        times: how often in a step the room is run one after the other without gradients; 1 with them.
    """
    own = [modules] if isinstance(modules, nn.Module) else list(modules)
    parameters = [parameter for module in own for parameter in module.parameters()]
    ledger = _Ledger([*parameters, *(buffer for module in own for buffer in module.buffers())])
    with ledger:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            results = forward()
        results = [x for x in tree_leaves(results) if x.requires_grad]
        saved = ledger.now if results else 0
        forward_bytes, forward_flops = ledger.restart(), ledger.flops
        if results:
            torch.autograd.backward(results, [torch.empty_like(x) for x in results])
        del results
    gradients = _let_go(parameters, ledger)
    backward_bytes, backward_flops = ledger.most if saved else 0, ledger.flops - forward_flops
    return Pass(saved, forward_bytes, backward_bytes, gradients, times * forward_flops, backward_flops)


@contextmanager
def with_gradients(parameters: Iterable[nn.Parameter]):
    """Inside, parameters have gradients already, to which backward passes add."""
    given = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in given:
        parameter.grad = torch.empty_like(parameter)
    try:
        yield
    finally:
        for parameter in given:
            parameter.grad = None


def storage_of(x: Tensor) -> int:
    """Return what names the memory behind a tensor."""
    return x.untyped_storage()._cdata


def _let_go(parameters: Iterable[nn.Parameter], ledger: _Ledger) -> int:
    """Take away the gradients that a pass made; return their bytes."""
    made = [x for x in parameters if x.grad is not None and ledger.holds(x.grad)]
    size = sum(x.grad.nbytes for x in made)
    for parameter in made:
        parameter.grad = None
    return size


class _Ledger(TorchDispatchMode):
    """Adds up operations, and the memory of tensors that are made inside while anything refers to it.

    Torch's FlopCounterMode is not used for the first: its hooks keep activations alive in cycles.
    """

    def __init__(self, kept: Iterable[Tensor]):
        super().__init__()
        self.now = self.most = self.flops = 0
        kept = list(kept)
        self._kept = {storage_of(x) for x in [*kept, *(x.grad for x in kept if x.grad is not None)]}
        self._seen: dict[int, weakref.ref] = {}

    def holds(self, x: Tensor) -> bool:
        """Return whether a tensor's memory is among what is added up."""
        return storage_of(x) in self._seen

    def restart(self) -> int:
        """Return the most so far, and begin it anew from what stands now."""
        most, self.most = self.most, self.now
        return most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if func.overloadpacket in _FLOPS:
            self.flops += _FLOPS[func.overloadpacket](*args, **kwargs, out_val=made)
        for x in tree_leaves(made):
            if isinstance(x, Tensor):
                self._add(x.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self._kept or name in self._seen:
            return

        def gone(_: Any) -> None:
            del self._seen[name]
            self.now -= size

        self._seen[name] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(gradient: Tensor, *inputs: Any, **__: Any) -> int:
    """Twice the way forward: that the kernel computes the scores again saves it memory, and is no work."""
    return 2 * _attention(*inputs)


_FLOPS = {
    **flop_registry,
    torch.ops.aten.addmm_: flop_registry[torch.ops.aten.addmm],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Torch's formulas, and what they lack: sums in place, and a CPU's fused attention, as shapes are there."""
