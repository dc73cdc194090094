"""Parameters that ZeRO-3 took apart: who holds which numbers, and how modules are filled where nobody holds
all. What DeepSpeed put on a parameter is read here by its names; deepspeed itself is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unimm.training.pieces import Piece, whole
from unimm.weights.folder import check_state

_IN_PIECES = ContextVar("in_pieces", default=False)


def in_pieces() -> bool:
    """Return whether modules that are made now are taken apart as they are made."""
    return _IN_PIECES.get()


def is_sharded(x: Tensor) -> bool:
    """Return whether this process holds only a part of a parameter."""
    return hasattr(x, "ds_tensor")


def as_whole(x: Tensor) -> Tensor:
    """Return what has the shape and dtype of the whole tensor; without storage, if it is sharded."""
    return torch.empty(x.ds_shape, dtype=x.dtype, device="meta") if is_sharded(x) else x


def own_piece(name: str, x: Tensor) -> Piece:
    """Return what this process holds of a tensor: its part without the padding at the end, or all of it."""
    if not is_sharded(x):
        return whole(name, x)
    part = x.ds_tensor
    start = min(part.numel() * torch.distributed.get_rank(), x.ds_numel)
    return Piece(name, start, part.detach().reshape(-1)[: max(0, min(part.numel(), x.ds_numel - start))])


def unique_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the live parameters and persistent buffers by full name, tied ones once, under the first."""
    found: dict[str, Tensor] = {}
    seen: set = set()
    for module_name, module in modules.items():
        for path, x in module.state_dict(keep_vars=True).items():
            if isinstance(x, nn.Parameter):
                place = id(x)
            else:  # no storage, no place: an empty buffer is like no other
                place = (x.data_ptr(), x.shape, x.stride()) if x.numel() else (module_name, path)
            if place in seen:
                continue
            seen.add(place)
            found[f"{module_name}.{path}"] = x
    return found


@torch.no_grad()
def fill(module: nn.Module, found: Mapping[str, Tensor], name: str, optional: Iterable[str] = ()) -> None:
    """Copy stored tensors into a module, each process what it holds of it; strictly, as `load_strictly`.

    Args:
        module: whole or sharded.
        found: stored tensors by path in the module; from a memory map, so that only what is used is read.
        name: what errors call the place of the tensors.
        optional: paths that may be missing, because they are tied to others.

    Raises:
        ValueError: missing, unexpected or misshapen names, all of them listed; nothing is changed then.
    """
    live = module.state_dict(keep_vars=True)
    left_out = set(optional) - found.keys()
    check_state({path: as_whole(x) for path, x in live.items() if path not in left_out}, found, name)
    for path, x in live.items():
        if path in left_out:
            continue
        if not is_sharded(x):
            x.copy_(found[path])
            continue
        piece = own_piece(path, x)
        piece.values.copy_(found[path].reshape(-1)[piece.start : piece.stop])


@contextmanager
def gathered(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, every process holds these modules whole, to run them outside a training step; unchanged after.

    Every process must come here. Modules that are whole anyway cost nothing.
    """
    parameters = [p for module in modules for p in module.parameters() if is_sharded(p)]
    away = [p for p in dict.fromkeys(parameters) if p.ds_status.name == "NOT_AVAILABLE"]
    if away:
        away[0].all_gather(away)
    try:
        yield
    finally:
        for parameter in away:
            parameter.partition()


@contextmanager
def whole_while_changed() -> Iterator[None]:
    """Stand around the construction of sharded modules: what changes a sharded parameter in place inside sees
    and changes the whole of it, in every process.

    Constructors initialise what other constructors made, which by then was taken apart: without this they
    would silently initialise nothing.
    """
    originals = {name: f for name, f in vars(nn.init).items() if _is_initialiser(name) and callable(f)}
    fans = nn.init._calculate_fan_in_and_fan_out
    for name, function in originals.items():
        setattr(nn.init, name, partial(_changed, function))
    nn.init._calculate_fan_in_and_fan_out = lambda x: fans(as_whole(x))
    token = _IN_PIECES.set(True)
    try:
        with _InPlace():
            yield
    finally:
        _IN_PIECES.reset(token)
        nn.init._calculate_fan_in_and_fan_out = fans
        for name, function in originals.items():
            setattr(nn.init, name, function)


class _InPlace(TorchFunctionMode):
    """Gathers sharded parameters for calls whose names say that they change what they are given."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if _is_initialiser(getattr(func, "__name__", "")):
            return _changed(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_initialiser(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_") and name != "requires_grad_"


def _changed(function: Callable, *args, **options):
    """Call a function that changes its arguments, whole ones, and take them apart again."""
    away = [x for x in (*args, *options.values()) if isinstance(x, Tensor) and is_sharded(x)]
    away = [x for x in away if x.ds_status.name == "NOT_AVAILABLE"]
    if not away:
        return function(*args, **options)
    away[0].all_gather(away)
    try:
        return function(*args, **options)
    finally:
        for x in away:
            x.partition(has_been_updated=True)
