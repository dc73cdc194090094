"""An official folder and the parts that stand elsewhere, opened as one configuration and one state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.llm.qwen import LLMConfig
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.loading import check_tokenizer, compare, expected
from unimm.model.opened import Opened
from unimm.model.published.codec import DrawnCodec, Tower, open_decoder, open_tower, open_vae
from unimm.model.published.origin import NONE, Origin, read_statistics, tokenizer_folder
from unimm.model.published.parts import find_part, sources
from unimm.model.published.tables import constants_of, kept_tables
from unimm.shapes import side_of
from unimm.text.chat import ChatSettings
from unimm.text.tokenizer import load_qwen_tokenizer
from unimm.weights.folder import refuse
from unimm.weights.scale_rae_config import check_fields, missing_head, model_sizes, refuse_contradictions
from unimm.weights.scale_rae_model import LM_HEAD, layout_of, model_map
from unimm.weights.shards import stored_tensors
from unimm.whole import read_json

SYSTEM = "You are a helpful assistant."
"""Qwen's system turn, which stands before every conversation that the published models were trained on."""
TIED = "llm.lm_head.weight", "llm.model.embed_tokens.weight"


def open_published(
    cls: type[PreTrainedModel],
    folder: Path,
    parts: Mapping[str, Any],
    hub: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> Opened:
    """Return an official folder with its vision tower, decoder and tokenizer, everything checked.

    Args:
        cls: UniMM.
        folder: with config.json of model_type "cambrian_qwen" and safetensors.
        parts: folders or hub ids by the names in PARTS, which come before those of folder and config.
        hub: options for what comes from the hub: token, cache_dir, ...
        options: what else the caller gave for loading.

    Raises:
        FileNotFoundError: a part or a file of one cannot be had; it is named, with the argument to give.
        ValueError: a config of another network, or that contradicts the tensors; tensors missing, unexpected
            or misshapen, all listed; parts that do not fit each other.
    """
    _refuse_options(folder, options or {})
    name = str(folder / "config.json")
    values, theirs = read_json(folder / "config.json"), stored_tensors(folder)
    check_fields(values, name)
    sizes, contradictions = model_sizes(values, theirs, name)
    refuse_contradictions(contradictions, name)
    refuse(name, missing=[LM_HEAD] if missing_head(values, theirs) else [])

    place = sources(values, folder, parts)
    hub = {option: value for option, value in hub.items() if option != "revision"}  # of the model alone
    tower = open_tower(find_part(place["vision_tower"], hub))
    codec = _codec(values, sizes, tower, find_part(place["decoder"], hub))
    tokenizer = load_qwen_tokenizer(tokenizer_folder(find_part(place["tokenizer"], hub)))

    layout = layout_of(theirs, sizes["body"], sizes["dit"])
    names = model_map(layout)
    parameters, _ = names.read(theirs)
    statistics = read_statistics(values, parameters, folder, sizes["num_queries"], sizes["dit"]["channels"])
    settings = _settings(sizes, tower, codec, sees_raw=statistics.form != NONE and codec.drawn is None)
    config = UniMMConfig(settings, dtype=values.get("torch_dtype") or values.get("dtype"))
    state = {**parameters, **statistics.state, **tower.state, **codec.state}
    stray = _without_tied_head(state, settings, folder)
    compare(str(folder), state, *expected(cls, config))
    check_tokenizer(tokenizer, config)
    constants = kept_tables(names, constants_of(cls, config), theirs)
    origin = Origin(
        config=values,
        decoder_config=codec.values,
        tables={**constants["tables"], **codec.tables},
        stored_head=LM_HEAD in theirs,
        statistics=statistics.form,
    )
    config.scale_rae = origin.to_dict()
    kept = {**stray, **constants["kept"], **statistics.kept, **codec.kept}
    return Opened(config, state, tokenizer, kept)


def _settings(sizes: Mapping[str, Any], tower: Tower, codec: DrawnCodec, sees_raw: bool) -> ModelSettings:
    """Return the settings of a model of these sizes and parts.

    Raises:
        ValueError: they do not fit each other.
    """
    if sizes["seen_channels"] != tower.config.width:
        raise ValueError(
            f"vision_tower: expected latents of {sizes['seen_channels']} channels, as model.mm_projector "
            f"reads them, got a tower of width {tower.config.width}"
        )
    rooms = {name: value for name, value in sizes.items() if name not in ("llm", "seen_channels")}
    return ModelSettings(
        encoder=tower.config,
        decoder=codec.decoder,
        drawn=codec.drawn,
        llm=LLMConfig(**sizes["llm"]),
        sees_raw=sees_raw,
        chat=ChatSettings(system=SYSTEM),
        **rooms,
    )


def _codec(values: Mapping[str, Any], sizes: Mapping[str, Any], tower: Tower, folder: Path) -> DrawnCodec:
    """Return what shows the drawn latents: a VAE where the config says that they are not the tower's."""
    grid = side_of(sizes["num_queries"], "model.latent_queries")
    read = open_vae if values.get("generation_alignment_tower") else open_decoder
    return read(folder, tower.config, sizes["dit"]["channels"], grid)


def _without_tied_head(state: dict[str, Tensor], settings: ModelSettings, folder: Path) -> dict[str, Tensor]:
    """Take a stored head out of a state whose head is tied to the embedding; return it if it is another."""
    head, embedding = TIED
    if not settings.llm.tied_embeddings or head not in state:
        return {}
    stored = state.pop(head)
    if torch.equal(stored, state[embedding]):
        return {}
    warnings.warn(
        f"{folder}: tie_word_embeddings is true and {LM_HEAD} is stored with other numbers than the "
        "embedding; as in the published code the embedding serves for both (set the field to false to use "
        "the other)",
        stacklevel=4,
    )
    return {LM_HEAD: stored}


def _refuse_options(folder: Path, options: Mapping[str, Any]) -> None:
    if options.get("quantization_config"):
        raise ValueError(
            "quantization_config: a published folder is read without; convert it first (unimm convert "
            f"{folder} DST), and load that"
        )
    if options.get("config") is not None:
        raise ValueError("config: expected none with a published folder, whose own config.json is read")
