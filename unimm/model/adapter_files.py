"""An adapter in a folder, in peft's own format, and the base that it belongs to.

adapter_config.json          peft's, so that `peft.PeftModel.from_pretrained(model, folder)` opens it too
adapter_model.safetensors    base_model.model.<layer>.lora_A.weight [rank inputs] and lora_B [outputs rank]
adapter_base.json            name and marks of the weights it was made for
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from torch import Tensor

from unimm.files import read_tensors
from unimm.model.adapters import (
    NAME,
    ROOMS,
    AdapterSettings,
    adapted_layers,
    adapter_parameters,
    base_state,
    inject,
    linear_layers,
    move_into,
    refuse_second,
)
from unimm.model.loading import compare
from unimm.model.verifying.calibrated import weights_mark
from unimm.weights.folder import write_json
from unimm.weights.whole import save_whole
from unimm.whole import read_json

if TYPE_CHECKING:
    from unimm.model.unimm import UniMM

CONFIG, TENSORS, BASE = "adapter_config.json", "adapter_model.safetensors", "adapter_base.json"
PREFIX = "base_model.model."  # peft's, before every name
UNKNOWN = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication", "lora_bias")
"""What peft can do beside plain LoRA and this project does not."""


@dataclass(frozen=True)
class Base:
    """Which weights an adapter was made for."""

    name: str  # as they were opened: "tiny", a folder, a hub id
    weights: str | None  # mark of all of them; None where the LLM was quantised
    kept: str | None  # mark of those that no quantisation touches

    def differs(self, other: Base) -> bool:
        """Whether these are other weights, as far as both are known."""
        pairs = [(self.weights, other.weights), (self.kept, other.kept)]
        known = [(one, two) for one, two in pairs if one is not None and two is not None]
        return bool(known) and known[0][0] != known[0][1]


def base_of(model: UniMM) -> Base:
    """Return what identifies a model without its adapter."""
    state = base_state(model)
    kept = {name: x for name, x in state.items() if not name.startswith(ROOMS["llm"]) or x.ndim < 2}
    quantised = getattr(model, "is_quantized", False)
    whole = None if quantised else weights_mark(state)
    return Base(model.name_or_path or "a model made in code", whole, weights_mark(kept))


def is_adapter(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    return (Path(folder) / CONFIG).is_file() and not (Path(folder) / "config.json").is_file()


def save_adapter(
    model: UniMM, folder: str | os.PathLike[str], state: Mapping[str, Tensor] | None = None
) -> None:
    """Write a model's adapter alone to a folder, which appears only when it is complete.

    Args:
        model: one with an adapter.
        folder: where; other files in it are kept.
        state: tensors to store instead of the model's own, by their names in it, such as averages.

    Raises:
        ValueError: the model has no adapter.
        OSError: the disk is full or the folder cannot be written; nothing has changed then.
    """
    adapted_layers(model)
    source = model.state_dict() if state is None else state
    names = adapter_parameters(model)
    compare("adapter", {name: source[name] for name in names if name in source}, _shapes(names), ())
    tensors = {
        PREFIX + name.replace(f".{NAME}.", "."): source[name].detach().cpu().contiguous() for name in names
    }
    config, base = _peft_config(model), base_of(model)

    def write(place: Path) -> None:
        write_json(config, place / CONFIG)
        write_json(vars(base), place / BASE)
        save_file(tensors, place / TENSORS, metadata={"format": "pt"})

    save_whole(write, folder)


def load_adapter(model: UniMM, folder: str | os.PathLike[str]) -> None:
    """Give a model the adapter in a folder; it acts at once, and everything is frozen.

    Raises:
        FileNotFoundError: the folder or a file in it is missing.
        ValueError: made for other weights (both are named), not plain LoRA, damaged, or tensors that are
            missing, unexpected or misshapen; the model is as it was then.
    """
    folder = Path(folder)
    refuse_second(model)
    if not folder.is_dir():
        raise FileNotFoundError(f"adapter: there is no folder {str(folder)!r}")
    settings = read_settings(folder)
    _refuse_other_base(folder, model)
    tensors = {key.removeprefix(PREFIX): x for key, x in read_tensors(folder / TENSORS).items()}
    layers = _layers_of(folder, model, tensors)
    wanted = {}
    for name, layer in layers.items():
        wanted[f"{name}.lora_A.weight"] = (settings.rank, layer.in_features)
        wanted[f"{name}.lora_B.weight"] = (layer.out_features, settings.rank)
    compare(str(folder / TENSORS), tensors, wanted, ())
    rooms = tuple(room for room in ROOMS if any(name.startswith(ROOMS[room]) for name in layers))
    given = AdapterSettings(rooms, settings.rank, settings.alpha, settings.dropout, settings.layers)
    inject(model, given, list(layers))
    move_into(model, {_inside(key): x for key, x in tensors.items()})
    model.requires_grad_(False)


def read_settings(folder: Path) -> AdapterSettings:
    """Return what peft's file says of an adapter; its rooms follow from the tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or not plain LoRA.
    """
    path = folder / CONFIG
    values = read_json(path)
    if values.get("peft_type") != "LORA":
        raise ValueError(f"{path}: expected peft_type 'LORA', got {values.get('peft_type')!r}")
    used = [name for name in UNKNOWN if values.get(name)]
    if used or values.get("bias", "none") != "none":
        raise ValueError(f"{path}: expected plain LoRA, got one with {', '.join(used) or 'trained biases'}")
    rank, alpha, dropout = (values.get(key) for key in ("r", "lora_alpha", "lora_dropout"))
    if type(rank) is not int or not all(type(x) in (int, float) for x in (alpha, dropout)):
        raise ValueError(
            f"{path}: expected numbers r, lora_alpha, lora_dropout, got {rank}, {alpha}, {dropout}"
        )
    scale = rank**0.5 if values.get("use_rslora") else 1.0  # alpha / sqrt(rank), written as alpha / rank
    try:
        return AdapterSettings(rank=rank, alpha=float(alpha) * scale, dropout=float(dropout))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_base(folder: Path) -> Base | None:
    """Return which weights an adapter was made for; None where it does not say.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / BASE
    if not path.is_file():
        return None
    values = read_json(path)
    fits = set(values) == set(Base.__dataclass_fields__) and all(
        isinstance(value, str | None) for value in values.values()
    )
    if not fits or values["name"] is None:
        raise ValueError(f"{path}: expected name, weights and kept, got {json.dumps(values)[:200]}")
    return Base(**values)


def _refuse_other_base(folder: Path, model: UniMM) -> None:
    made_for = read_base(folder)
    if made_for is None:
        warnings.warn(
            f"{folder}: there is no {BASE} that says which weights the adapter was made for; on others it "
            "would draw nonsense",
            stacklevel=4,
        )
        return
    here = base_of(model)
    if made_for.differs(here):
        raise ValueError(
            f"{folder}: expected its base, {made_for.name!r} (weights {made_for.weights or made_for.kept}), "
            f"got {here.name!r} (weights {here.weights or here.kept}); load it onto the model it was made for"
        )


def _layers_of(folder: Path, model: UniMM, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the layers that tensors name, all of them linear layers of rooms that take adapters."""
    known = linear_layers(model, list(ROOMS))
    named = dict.fromkeys(key.partition(".lora_")[0] for key in tensors)
    strangers = [name for name in named if name not in known]
    if strangers or not named:
        raise ValueError(
            f"{folder / TENSORS}: expected adapters of linear layers in {', '.join(ROOMS)}, got "
            f"{', '.join(strangers[:3]) or 'none'}"
        )
    return {name: known[name] for name in named}


def _inside(key: str) -> str:
    """Return the name that a stored tensor has in a model."""
    return key.removesuffix(".weight") + f".{NAME}.weight"


def _shapes(names: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: x.shape for name, x in names.items()}


def _peft_config(model: UniMM) -> dict[str, Any]:
    """Return peft's configuration of the adapter as plain values, always in the same order."""
    values = model.peft_config[NAME].to_dict()
    values |= {
        "base_model_name_or_path": base_of(model).name,
        "inference_mode": True,
        "target_modules": sorted(adapted_layers(model)),
    }
    return {key: sorted(x) if isinstance(x, set) else x for key, x in values.items()}
