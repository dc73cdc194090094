"""Adapters: low-rank changes beside frozen weights (LoRA, Hu et al. 2021, arXiv 2106.09685). The one door to
peft.

W x becomes W x + (alpha / rank) B A x, with B = 0 at first. Layers are replaced in place, so a model with an
adapter draws, talks and trains like any other; `adapter_files` says how one is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unimm.tables import expect_known
from unimm.verify.calibrations import Calibrations

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

NAME = "default"  # what peft calls an adapter where there is one
MATRICES = ("lora_A", "lora_B")

ROOMS: dict[str, tuple[str, ...]] = {
    "llm": ("llm.model.layers.",),
    "projector": ("projector.",),
    "connector": ("connector.",),
    "dit": ("dit.blocks.",),
}
"""The rooms that take adapters, and where in them the linear layers are that get one. Those before and after
a DiT's blocks, and the LLM's embedding and head, are few and keep their weights."""


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter is: where it acts and how large it is."""

    rooms: tuple[str, ...] = ("dit",)  # rows of ROOMS
    rank: int = 16  # 32 in Flow-GRPO, 4 to 128 elsewhere
    alpha: float = 32.0  # the change is scaled by alpha / rank; twice the rank in Flow-GRPO
    dropout: float = 0.0  # of the adapter's inputs, in training
    layers: tuple[str, ...] = ()  # last names of layers, such as qkv, q_proj; none are all linear layers

    def __post_init__(self) -> None:
        if not self.rooms or len(set(self.rooms)) != len(self.rooms):
            raise ValueError(f"adapter.rooms: expected one room or more, each once, got {list(self.rooms)}")
        for room in self.rooms:
            expect_known("adapter.rooms", room, ROOMS)
        if self.rank < 1:
            raise ValueError(f"adapter.rank: expected 1 or more, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"adapter.alpha: expected a positive number, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"adapter.dropout: expected a number in [0, 1), got {self.dropout}")


def linear_layers(model: nn.Module, rooms: Sequence[str]) -> dict[str, nn.Linear]:
    """Return the linear layers of rooms that may have an adapter, by name; quantised ones among them."""
    starts = tuple(start for room in rooms for start in ROOMS[room])
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(starts)
    }


def add_adapter(model: UniMM, settings: AdapterSettings) -> None:
    """Give a model an adapter that changes nothing yet; its other weights are frozen.

    Raises:
        ValueError: the model has one, or no layer of the rooms has such a name.
    """
    found = linear_layers(model, settings.rooms)
    if settings.layers:
        known = sorted({name.rpartition(".")[2] for name in found})
        for layer in settings.layers:
            expect_known("adapter.layers", layer, known)
        found = {name: found[name] for name in found if name.rpartition(".")[2] in settings.layers}
    inject(model, settings, list(found))


def inject(model: UniMM, settings: AdapterSettings, names: Sequence[str]) -> None:
    """Give the layers of these names an adapter; freeze everything else."""
    peft = import_peft()
    refuse_second(model)
    if not names:
        raise ValueError(f"adapter: expected a linear layer in {', '.join(settings.rooms)}, found none")
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(names),
    )
    training = model.training
    peft.inject_adapter_in_model(config, model, NAME)
    model.adapter = settings
    model.requires_grad_(False)
    for parameter in adapter_parameters(model).values():
        parameter.requires_grad_(True)
    model.calibrations = Calibrations()  # they were measured without
    model.train(training)


def refuse_second(model: UniMM) -> None:
    """Refuse a model that has an adapter already."""
    if model.adapter is not None:
        raise ValueError(
            "adapter: this model has one already; merge_adapter or remove_adapter come before another"
        )


def import_peft() -> Any:
    """Return peft, or say how to have it."""
    try:
        import peft
    except ImportError:
        raise ValueError("adapter: needs peft, which is not installed; pip install 'unimm[train]'") from None
    return peft


def adapter_parameters(model: UniMM) -> dict[str, nn.Parameter]:
    """Return the parameters of a model's adapter by name; none where it has no adapter."""
    return {name: x for name, x in model.named_parameters() if is_adapters(name)}


def is_adapters(name: str) -> bool:
    """Whether a tensor of this name belongs to an adapter."""
    return any(part in MATRICES for part in name.split("."))


def adapted_layers(model: UniMM) -> dict[str, nn.Module]:
    """Return the layers that have an adapter, by name.

    Raises:
        ValueError: the model has none.
    """
    if model.adapter is None:
        raise ValueError("adapter: this model has none; load_adapter or add_adapter gives it one")
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


@contextmanager
def adapters_off(model: UniMM) -> Iterator[None]:
    """Inside, the model is the one that the adapter was added to; not for several threads at once.

    Raises:
        ValueError: the model has no adapter.
    """
    layers = adapted_layers(model).values()
    grads = {parameter: parameter.requires_grad for parameter in adapter_parameters(model).values()}
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, wanted in grads.items():  # peft turns them off and on with the adapter
            parameter.requires_grad_(wanted)


def merge_adapter(model: UniMM) -> None:
    """Add the adapter to the weights beside it; the model is then one without an adapter.

    Raises:
        ValueError: the model has no adapter, or weights of few bits, which would lose most of it.
    """
    layers = adapted_layers(model)
    packed = [name for name, layer in layers.items() if not layer.get_base_layer().weight.is_floating_point()]
    if packed:
        raise ValueError(
            f"merge: expected weights in a floating-point format, got {packed[0]} with fewer bits; load the "
            "base without quantization_config, then the adapter, and merge that"
        )
    for layer in layers.values():
        layer.merge(safe_merge=True)
    _take_out(model, layers)


def remove_adapter(model: UniMM) -> None:
    """Take the adapter out again; weights are as they were before there was one."""
    _take_out(model, adapted_layers(model))


def _take_out(model: UniMM, layers: dict[str, nn.Module]) -> None:
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    model.adapter = None
    del model.peft_config


def base_state(model: UniMM) -> dict[str, Tensor]:
    """Return what a model without its adapter would store, by the names it would have then."""
    return {
        name.replace(".base_layer.", "."): x
        for name, x in model.stored_state().items()
        if not is_adapters(name)
    }


def move_into(model: UniMM, state: dict[str, Tensor]) -> None:
    """Copy an adapter's tensors, which are all there and fit, into a model that has one."""
    with torch.no_grad():
        for name, parameter in adapter_parameters(model).items():
            parameter.copy_(state[name])
