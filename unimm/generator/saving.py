"""A generator in a folder: config.json, safetensors, and the tokenizers of its text towers beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from unimm.config import build, to_dict
from unimm.generator.settings import GeneratorSettings
from unimm.text.published import load_words, save_words
from unimm.weights.folder import check_state, load_folder, load_strictly, save_folder
from unimm.weights.whole import save_whole

if TYPE_CHECKING:
    from unimm.generator.base import Generator

G = TypeVar("G", bound="Generator")


def save_generator(model: Generator, folder: str | os.PathLike[str]) -> None:
    """Write a generator; documented at `Generator.save_pretrained`."""
    config = {"model_type": model.model_type, "settings": to_dict(model.settings)}
    text = getattr(model, "text", None)

    def write(partial: Path) -> None:
        save_folder(model.state_dict(), config, partial)
        if text is not None:
            save_words(text.words, partial)

    save_whole(write, folder)


def load_generator(cls: type[G], folder: str | os.PathLike[str], dtype: torch.dtype) -> G:
    """Return the generator in a folder; documented at `Generator.from_pretrained`."""
    config, state = load_folder(folder)
    settings = settings_in(config, cls.model_type, Path(folder))
    model = planned(cls, settings)
    for room in (model.dit, getattr(model, "text", None)):  # statistics and decoders stay float32
        if room is not None:
            room.to(dtype)
    fill(model, state, str(folder))
    if settings.text is not None:
        model.text.words = load_words(folder, settings.text.towers)
    return model.eval()


def planned(cls: type[G], settings: GeneratorSettings) -> G:
    """Return a generator without storage: nothing is drawn at random that is overwritten next."""
    with torch.device("meta"):
        return cls(settings)


def fill(room: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Give a planned module storage, its weights, and the constant tables that are in no file.

    Raises:
        ValueError: missing, unexpected or misshapen names, all of them listed.
    """
    check_state(room.state_dict(), state, name)
    room.to_empty(device="cpu")
    load_strictly(room, state, name)
    for module in room.modules():
        if hasattr(module, "reset_tables"):
            module.reset_tables()


def settings_in(config: dict[str, Any], model_type: str, folder: Path) -> GeneratorSettings:
    """Return the settings in a config.json.

    Raises:
        ValueError: another kind of model, or settings that do not build.
    """
    if config.get("model_type") != model_type:
        raise ValueError(
            f"{folder / 'config.json'}: expected model_type {model_type!r}, got {config.get('model_type')!r}"
        )
    try:
        return build(GeneratorSettings, config.get("settings", {}), "settings")
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
