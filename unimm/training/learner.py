"""From which weights tuning starts, and who learns: some rooms of a model, or an adapter beside them all."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unimm.flow.density import logit_normal
from unimm.flow.shifting import shift
from unimm.flow.solver import Velocity
from unimm.model.adapter_files import save_adapter
from unimm.model.adapters import AdapterSettings, adapter_parameters, adapters_off, add_adapter
from unimm.model.quantising import few_bits
from unimm.model.unimm import UniMM
from unimm.model.verifying.calibrated import weights_mark
from unimm.tables import pick
from unimm.training.export import export_model, model_state, write_shell
from unimm.training.joint import DrawingSide, talk_groups
from unimm.training.opening import open_model
from unimm.training.optim import freeze_and_collect
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.whole import read_json, write_whole

REFERENCE = "reference.json"
"""In a run's folder: the mark of the weights that it began from."""

TRAINS: dict[str, tuple[str, ...]] = {
    "dit": ("dit",),
    "drawing": ("queries", "connector", "dit"),
    "talking": ("llm", "projector"),
    "both": ("llm", "queries", "projector", "connector", "dit"),
}
"""Who learns where there is no adapter; all other rooms are frozen. Scale-RAE finetunes "dit" or "both"
(arXiv 2601.16208, section 4.4)."""


@dataclass(frozen=True)
class Learner:
    """What a stage that tunes a trained model is run on."""

    start: str  # "tiny", a model folder or a hub id
    trains: str | None = None  # a row of TRAINS; null where an adapter learns
    adapter: AdapterSettings | None = None  # null trains the rooms themselves
    llm_bits: Literal[4, 8] | None = None  # of the LLM beside an adapter (QLoRA), by bitsandbytes
    matrices: Literal["adamw", "muon"] = "adamw"  # optimiser of the weights inside, where no adapter learns
    drawing: DrawingSide = DrawingSide()  # of the DiT, or of the adapter's part in it
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        if (self.trains is None) == (self.adapter is None):
            raise ValueError(
                f"learner: expected either trains ({', '.join(TRAINS)}) or adapter, got "
                f"trains={self.trains!r} and adapter={self.adapter}"
            )
        if self.trains is not None:
            pick("learner.trains", self.trains, TRAINS)
        if self.llm_bits is not None and self.adapter is None:
            raise ValueError(
                f"learner: llm_bits {self.llm_bits} needs an adapter, which is written alone, got "
                f"trains={self.trains!r}, whose model would be written with an LLM of few bits; use an "
                "adapter, or leave llm_bits out"
            )
        if self.adapter is not None and self.matrices != "adamw":
            raise ValueError(f"learner.matrices: expected adamw with an adapter, got {self.matrices}")
        self._check_drawing()

    def _check_drawing(self) -> None:
        """Refuse a rate of the DiT where none of it learns, and none where it is to learn."""
        rooms, named = self._rooms()
        if "dit" not in rooms:
            self._refuse_drawing(named)
        if not self.drawing.lr_scale > 0:
            raise ValueError(
                f"learner.drawing.lr_scale: expected a number above 0 with {named}, by which the DiT learns, "
                f"got {self.drawing.lr_scale}; name rooms without it"
            )

    def _refuse_drawing(self, named: str) -> None:
        if self.drawing != DrawingSide():
            raise ValueError(
                f"learner.drawing: expected none with {named}, where no parameter of the DiT learns, got "
                f"{self.drawing}; leave it out, or let the DiT learn"
            )

    def _rooms(self) -> tuple[tuple[str, ...], str]:
        """Return the rooms in which something learns, and the setting that names them."""
        if self.adapter is not None:
            return self.adapter.rooms, f"adapter.rooms [{', '.join(self.adapter.rooms)}]"
        return TRAINS[self.trains], f"trains {self.trains!r}"

    def open(self) -> UniMM:
        """Return the model, with its new adapter if one learns."""
        quantised = {} if self.llm_bits is None else {"quantization_config": few_bits(self.llm_bits)}
        model = open_model(self.start, **quantised)
        self.prepare(model, self.gradient_checkpointing)
        return model

    def prepare(self, model: UniMM, again: bool) -> None:
        """Give an opened model its new adapter, if one learns; `again`: blocks are computed again."""
        if self.adapter is not None:
            add_adapter(model, self.adapter)
        if again:
            model.compute_again()

    def groups(self, model: UniMM) -> dict[str, Group]:
        """Return who learns of a module that is called "model"."""
        if self.adapter is not None:
            return {"model": FROZEN, **self._adapter_groups(model)}
        rooms = TRAINS[self.trains]
        whole = talk_groups(model, self.matrices, self.drawing)
        inside = {
            name: group for name, group in whole.items() if name.split(".")[1:2] in [[r] for r in rooms]
        }
        return {"model": FROZEN, **{f"model.{room}": whole["model"] for room in rooms}, **inside}

    def _adapter_groups(self, model: UniMM) -> dict[str, Group]:
        dit = Group(lr_scale=self.drawing.lr_scale, betas=self.drawing.betas)
        names = adapter_parameters(model)
        if not any(name.startswith("dit.") for name in names):
            self._refuse_drawing(f"adapter.layers [{', '.join(self.adapter.layers)}]")
        return {f"model.{name}": dit if name.startswith("dit.") else Group() for name in names}


def product_of(model: UniMM) -> str:
    """Return what training makes, and what its folder in a run is called: "adapter" or "model"."""
    return "model" if model.adapter is None else "adapter"


def export(model: UniMM, newest: Path, folder: Path) -> None:
    """Write what was trained, averaged weights where there are such: a whole model, or an adapter alone."""
    if model.adapter is None:
        export_model(model.config, model.tokenizer, model_state(newest), folder, str(newest))
    else:
        save_adapter(model, folder, model_state(newest))


def describe(model: UniMM, run: Path) -> None:
    """Write what a model's folder holds beside its weights; an adapter's holds nothing of that."""
    if model.adapter is None:
        write_shell(model, run)


class Reference:
    """The model that training began from: the same one with its adapter off, or else a frozen copy.

    The copy shares with the model all parameters that do not learn. It is no part of a checkpoint: a run that
    goes on copies its start again, and refuses another.
    """

    def __init__(self, model: UniMM):
        self.model, self.copy, self.mark = model, None, None
        if model.adapter is None:
            self.copy = frozen_copy(model)
            self.mark = weights_mark(self.copy.state_dict())

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What a stage has to hold besides; the copy must not learn."""
        return {} if self.copy is None else {"reference": self.copy}

    @property
    def groups(self) -> Mapping[str, Group]:
        """How it is held."""
        return {} if self.copy is None else {"reference": FROZEN}

    def claim(self, run: Path, changed: bool) -> None:
        """Note in a run's folder which weights the copy has, or, where they have `changed`, has now.

        Raises:
            ValueError: the run began from other weights.
        """
        path = run / REFERENCE
        if self.copy is None:
            return
        if path.is_file() and not changed:
            found = read_json(path)["weights"]
            if found != self.mark:
                raise ValueError(
                    f"learner.start: {path} says that the run began from weights {found}, got {self.mark}; "
                    "set them back, choose another output, or go on all the same with resume=changed"
                )
        write_whole(path, json.dumps({"weights": self.mark}) + "\n")

    @contextmanager
    def used(self) -> Iterator[UniMM]:
        """Inside, the yielded model is the reference, in eval mode and without gradients."""
        with as_before(self.model, self.copy) as before:
            yield before


def frozen_copy(model: UniMM) -> UniMM:
    """Return a copy in eval mode that shares with the model all parameters that do not learn."""
    frozen = {id(x): x for x in model.parameters() if not x.requires_grad}
    return copy.deepcopy(model, frozen).eval()


@contextmanager
def as_before(model: UniMM, kept: UniMM | None) -> Iterator[UniMM]:
    """Inside, the yielded model is the copy, or else the model without its adapter; no gradients come."""
    if kept is not None:
        with torch.no_grad():
            yield kept
        return
    with torch.no_grad(), adapters_off(model), quiet(model):
        yield model


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode: no dropout."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class TunedStage:
    """What stages have in common that hold a model against the one it began from."""

    unsaved = ("reference",)

    def __init__(self, learner: Learner, train: TrainRecipe):
        self.train, self.model = train, learner.open()
        groups = learner.groups(self.model)
        freeze_and_collect({"model": self.model}, groups)  # the reference shares what is frozen
        self.reference = Reference(self.model)
        self.modules = {"model": self.model, **self.reference.modules}
        self.groups = {**groups, **self.reference.groups}
        self.product = product_of(self.model)

    def noise_and_times(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return noise like latents x [B N C] and times [B], as the flow loss draws them."""
        noise = torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
        t = logit_normal(len(x), generator=generator, device=x.device)
        return noise, shift(t, self.model.config.settings.alpha)

    def referred(self, conditions: Tensor) -> Velocity:
        """Return the velocity of the reference under its own conditions."""

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            with self.reference.used() as before:
                return before.velocity(x_t, t, conditions)

        return velocity

    def compile(self) -> None:
        self.model.dit.compile()

    def export(self, newest: Path, folder: Path) -> None:
        """Write the model, or the adapter alone."""
        export(self.model, newest, folder)

    def describe(self, run: Path) -> None:
        """Write what `unimm.training.export` needs besides, and note which weights the run began from."""
        self.reference.claim(run, self.train.resume == "changed")
        describe(self.model, run)
