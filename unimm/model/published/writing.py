"""A model of this house as Scale-RAE's files hold one: what is written, and what has no place there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.latents.encoder import EncoderConfig, encoder_class
from unimm.latents.encoders.presets import PRESETS
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.published.codec import TOWERS
from unimm.model.published.opening import TIED
from unimm.model.published.origin import FILE_PREFIX, IN_FILE, MEAN, NONE, STD, Origin
from unimm.model.published.tables import constants_of
from unimm.shapes import sincos_table
from unimm.weights.encoders import ENCODER_MAPS
from unimm.weights.keymap import KeyMap
from unimm.weights.scale_rae import DECODER, SIGLIP_WITH_HEAD
from unimm.weights.scale_rae_config import Contradiction, model_sizes, new_config
from unimm.weights.scale_rae_decoder import pixel_decoder_sizes, pixel_decoder_values
from unimm.weights.scale_rae_model import Layout, model_map
from unimm.weights.scale_rae_statistics import EPS, gathered

ROOMS = ("encoder.", "decoder.", "drawn.")
"""Rooms whose tensors are not in the model's own files."""
PLAIN = {"lightning": (DiTConfig, {}), "ddt": (DDTConfig, {"bridge": "plain"})}
"""Bodies that the layout has, and what else than their defaults is fixed."""
WRITTEN_PREFIX = {"siglip2": "vision_model.", "webssl": ""}
"""What stands before the names of a vision tower on the hub."""
FREE = ("mlp_width", "guidable", "attention", "head_width", "head_depth", "head_heads", "head_mlp_width")
"""Fields of a body with a default that may be another in the published layout."""


@dataclass(frozen=True)
class Folder:
    """One folder of published files: its config.json and its tensors."""

    values: dict[str, Any]
    state: dict[str, Tensor]


@dataclass(frozen=True)
class PublishedFiles:
    """What a model is written as."""

    model: Folder
    vision_tower: Folder
    decoder: Folder
    """Of model.pt, or of a VAE in diffusers' layout."""
    is_vae: bool
    colours: dict[str, Any]
    """The vision tower's preprocessor_config.json."""
    statistics: dict[str, Tensor] = field(default_factory=dict)
    """The file that config.json names, if it names one."""


def published_files(
    cls: type[PreTrainedModel], config: UniMMConfig, state: Mapping[str, Tensor], kept: Mapping[str, Tensor]
) -> PublishedFiles:
    """Return what a model is in the published layout.

    Args:
        cls: UniMM.
        config: the model's.
        state: its tensors, without a head that is tied.
        kept: what was kept of the published files that it came from, see `Opened.kept`.

    Raises:
        ValueError: it has parts that the layout has no place for, all of them listed.
    """
    settings = config.settings
    _refuse_others(settings)
    remembered = getattr(config, "scale_rae", None)
    origin = Origin(**remembered) if remembered else None
    theirs, statistics = _model(cls, config, state, origin, kept)
    values = dict(origin.config) if origin else new_config(_plain_sizes(settings))
    values = _corrected(values, model_sizes(values, theirs, "config.json")[1])
    colours = {f"image_{x}": _three(getattr(settings.encoder, f"pixel_{x}")) for x in ("mean", "std")}
    return PublishedFiles(
        Folder(values, theirs),
        _tower(state, settings.encoder),
        _vae(state, origin) if settings.drawn else _decoder(state, settings, origin, kept),
        bool(settings.drawn),
        colours,
        statistics,
    )


def _tower(state: Mapping[str, Tensor], config: EncoderConfig) -> Folder:
    names = SIGLIP_WITH_HEAD if config.use_head else ENCODER_MAPS[config.kind]
    theirs = names.write(_room(state, "encoder."), WRITTEN_PREFIX[config.kind])
    return Folder(encoder_class(config.kind).tower_config(config).to_dict(), theirs)


def _model(
    cls: type[PreTrainedModel],
    config: UniMMConfig,
    state: Mapping[str, Tensor],
    origin: Origin | None,
    kept: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the model's tensors under their published names, and its statistics file."""
    settings = config.settings
    ours = {name: x for name, x in state.items() if not name.startswith(ROOMS)}
    numbers = {name: ours.pop(name) for name in (MEAN, STD)}
    form = _form(numbers, origin)
    file = {}
    if form == IN_FILE:
        file = {name.removeprefix(FILE_PREFIX): x for name, x in kept.items() if name.startswith(FILE_PREFIX)}
        variance = numbers[STD].double().square().sub(EPS).float()
        file = file or {"running_mean": numbers[MEAN], "running_var": variance}
    elif form != NONE:
        ours |= {name: gathered(x, form) for name, x in numbers.items()}
    if settings.llm.tied_embeddings and (origin is None or origin.stored_head):
        ours[TIED[0]] = ours[TIED[1]]
    names = model_map(_layout(settings, origin))
    theirs = _with_tables(names, ours, constants_of(cls, config), origin)
    return theirs | {name: x for name, x in kept.items() if name in theirs}, file


def _with_tables(
    names: KeyMap, ours: Mapping[str, Tensor], computed: Mapping[str, Tensor], origin: Origin | None
) -> dict[str, Tensor]:
    """Return published tensors with the constants that the file held, all of them where there was none."""
    dtypes = _tables(origin)
    wanted = {row.ours for row in names.rows if row.table and (origin is None or row.theirs[0] in dtypes)}
    theirs = names.write({**ours, **{name: computed[name] for name in wanted if name in computed}})
    return {name: x.to(getattr(torch, dtypes[name])) if name in dtypes else x for name, x in theirs.items()}


def _decoder(
    state: Mapping[str, Tensor], settings: ModelSettings, origin: Origin | None, kept: Mapping[str, Tensor]
) -> Folder:
    sizes = settings.decoder
    computed = {"positions": sincos_table(sizes.grid, sizes.width, sizes.position_step)}
    theirs = _with_tables(DECODER, _room(state, "decoder."), computed, origin)
    theirs |= {name: x for name, x in kept.items() if name in theirs}
    values = dict(origin.decoder_config) if origin else pixel_decoder_values(asdict(sizes))
    return Folder(_corrected(values, pixel_decoder_sizes(values, theirs, "decoder/config.json")[1]), theirs)


def _vae(state: Mapping[str, Tensor], origin: Origin | None) -> Folder:
    if origin is None:
        raise ValueError("drawn: expected a VAE that came from a published folder, whose config.json is kept")
    return Folder(dict(origin.decoder_config), _room(state, "drawn.tower."))


def _form(numbers: Mapping[str, Tensor], origin: Origin | None) -> str:
    """Return how statistics are written: as they came, or whole where there was no place for them."""
    identity = bool((numbers[MEAN] == 0).all() and (numbers[STD] == 1).all())
    came = origin.statistics if origin else NONE
    return "token" if came == NONE and not identity else came


def _layout(settings: ModelSettings, origin: Origin | None) -> Layout:
    own = settings.body == "ddt" and settings.dit.head_width != settings.dit.width
    rope = "enc_rope" if own else "feat_rope"
    if origin is not None:
        rope = "enc_rope" if any(".enc_rope." in name for name in origin.tables) else "feat_rope"
    return Layout(tuple(range(0, 2 * settings.projector_depth, 2)), settings.body, asdict(settings.dit), rope)


def _refuse_others(settings: ModelSettings) -> None:
    """Refuse a model with parts that the published layout has no place for.

    Raises:
        ValueError: there are any; all are listed.
    """
    encoder, decoder = settings.encoder, settings.decoder
    told = {  # name: (found, expected ones)
        "body": (settings.body, tuple(PLAIN)),
        "connector_depth": (settings.connector_depth, (1,)),
        "prediction": (settings.prediction, ("velocity",)),
        "encoder.kind": (encoder.kind, tuple(TOWERS)),
        "encoder.resize": (encoder.resize, ("refuse",)),
    }
    if decoder is not None:
        told["decoder.pixel_mean"] = decoder.pixel_mean, (encoder.pixel_mean,)
        told["decoder.pixel_std"] = decoder.pixel_std, (encoder.pixel_std,)
        told["decoder.position_step"] = decoder.position_step, (1.0,)
    if settings.body in PLAIN:
        config_class, fixed = PLAIN[settings.body]
        sizes = {name: getattr(settings.dit, name) for name in _size_names(config_class)}
        plain = config_class(**sizes, **fixed)
        told |= {
            f"dit.{each.name}": (getattr(settings.dit, each.name), (getattr(plain, each.name),))
            for each in fields(config_class)
        }
    wrong = [
        f"{name} (expected {' or '.join(map(repr, expected))}, got {found!r})"
        for name, (found, expected) in told.items()
        if found not in expected
    ]
    if wrong:
        raise ValueError(f"scale_rae: the published layout has no place for this model; {', '.join(wrong)}")


def _size_names(config_class: type) -> list[str]:
    """Return the fields of a body's config that are sizes, or have no effect on numbers."""
    return [each.name for each in fields(config_class) if each.default is MISSING or each.name in FREE]


def _plain_sizes(settings: ModelSettings) -> dict[str, Any]:
    """Return settings in the form that `model_sizes` gives."""
    return {
        "llm": asdict(settings.llm),
        "body": settings.body,
        "dit": asdict(settings.dit),
        "num_queries": settings.num_queries,
        "projector_depth": settings.projector_depth,
        "shift_base": settings.shift_base,
        "null_probability": settings.null_probability,
        "tower": next((p.hub_id for p in PRESETS.values() if p.config == settings.encoder), "vision_tower"),
        "drawn": settings.drawn,
    }


def _corrected(values: Mapping[str, Any], contradictions: Sequence[Contradiction]) -> dict[str, Any]:
    """Return a config with the tensors' numbers where a model changed size since its config was written."""
    return {**values, **{field: told for field, _, told in contradictions}}


def _tables(origin: Origin | None) -> dict[str, str]:
    return origin.tables if origin else {}


def _room(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def _three(colour: float | Sequence[float]) -> list[float]:
    return list(colour) if isinstance(colour, tuple | list) else [colour] * 3
