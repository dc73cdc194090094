"""Everything that can be counted, by name: published bodies and decoders, and the rooms of a config file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from unimm.alignment.projector import Projectors
from unimm.config import FILE_KEY, build
from unimm.connector import Connector
from unimm.dit.bodies import body_classes
from unimm.dit.config import DiTConfig
from unimm.dit.presets import PRESETS
from unimm.latents.decoder import DECODERS, DecoderConfig, RAEDecoder, decoder_config
from unimm.latents.encoder import EncoderConfig, build_encoder
from unimm.llm.decoding import llm_states
from unimm.llm.qwen import LLMConfig, build_llm
from unimm.model.config import ModelSettings
from unimm.projector import Projector
from unimm.training.count import Count, Counts, body_room, count
from unimm.training.examples import example

DECODER_NAMES = {f"RAE decoder {size}": size for size in DECODERS}
"""On DINOv2-B's latents, 256 tokens to 256 pixels."""
PROJECTOR = "REPA projector"
"""Of SiT-XL/2 to DINOv2-B, 256 tokens; trained beside the body, not needed to draw."""


def names() -> list[str]:
    """Return the names of all that is published and can be counted."""
    return [*PRESETS, *DECODER_NAMES, PROJECTOR]


def count_named(name: str) -> Counts:
    """Return the counts, room by room, of a published network.

    Raises:
        ValueError: no such name; the nearest are suggested.
    """
    if name in PRESETS:
        return count_body(*PRESETS[name])
    if name in DECODER_NAMES:
        return count_decoder(decoder_config(DECODER_NAMES[name], channels=768, patch_size=16))
    if name == PROJECTOR:
        return count_projectors(1152, [768], num_tokens=256)
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"name: {name!r} is no published network{hint} (--list shows them all)")


def count_body(kind: str, config: Any) -> Counts:
    """Return the counts of a DiT body, one picture on its own square grid."""
    body = bare(lambda: body_classes(kind)[1](config))
    given = example(config, 1, "meta")
    has_head = hasattr(config, "head_depth")
    return count(body, lambda: body(*given.arguments), body_room(config.depth if has_head else None))


def count_encoder(config: EncoderConfig) -> Counts:
    """Return the counts of a vision encoder, for one picture of its own size."""
    encoder = bare(lambda: build_encoder(config))
    pixels = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    return count(encoder, lambda: encoder(pixels), lambda path: "encoder")


def count_decoder(config: DecoderConfig) -> Counts:
    """Return the counts of an RAE decoder, for one picture."""
    decoder = bare(lambda: RAEDecoder(config))
    latents = torch.empty(1, config.grid**2, config.channels, device="meta")
    return count(decoder, lambda: decoder(latents), lambda path: "decoder")


def count_projectors(width: int, target_widths: Sequence[int], num_tokens: int) -> Counts:
    """Return the counts of REPA's projectors."""
    projectors = bare(lambda: Projectors(width, target_widths))
    hidden = torch.empty(1, num_tokens, width, device="meta")
    return count(projectors, lambda: projectors(hidden), lambda path: "projector")


def count_llm(config: LLMConfig, num_positions: int) -> Counts:
    """Return the counts of a language model reading so many positions, its output layer left out."""
    llm = bare(lambda: build_llm(config))
    embeds = torch.empty(1, num_positions, config.width, device="meta")
    return count(llm, lambda: llm_states(llm, embeds), lambda path: "llm")


def bare(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module without numbers, in evaluation."""
    with torch.device("meta"):
        return make().eval()


def count_file(path: str | Path, overrides: Sequence[str] = ()) -> Counts:
    """Return the counts of every room that a YAML file states, after `key=value` overrides.

    It may be a model's or a generator's settings, or a training run that holds or names them.

    Raises:
        FileNotFoundError: the file, or one it names, does not exist.
        ValueError: no YAML mapping, no room at all, or one whose settings do not build.
    """
    path = Path(path)
    values = _read(path)
    for key, section in list(values.items()):
        if isinstance(section, dict) and FILE_KEY in section:
            rest = {name: value for name, value in section.items() if name != FILE_KEY}
            values[key] = OmegaConf.merge(_read(path.parent / str(section[FILE_KEY])), rest)
    values = OmegaConf.to_container(OmegaConf.merge(values, OmegaConf.from_dotlist(list(overrides))))
    return count_settings(values, str(path))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise FileNotFoundError(f"{path}: no such config file{hint}")
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: could not read YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a YAML mapping of keys to values")
    return values


def count_settings(values: Mapping[str, Any], where: str) -> Counts:
    """Return the counts of every room among plain values; `where` names them in errors. As `count_file`."""
    flat = {**values, **_mapping(values, "model"), **_mapping(values, "generator")}
    flat = {**flat, **_mapping(flat, "latents")}
    counts = {
        room: found
        for section, count_section in SECTIONS.items()
        if section in flat and flat[section] is not None
        for room, found in count_section(flat[section], f"{where}: {section}", flat).items()
    }
    if not counts:
        raise ValueError(f"{where}: expected at least one of the sections {', '.join(SECTIONS)}, found none")
    return counts


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return values[key] if isinstance(values.get(key), Mapping) else {}


def _encoder(section: Mapping[str, Any], where: str, _: Mapping[str, Any]) -> Counts:
    return count_encoder(build(EncoderConfig, section, where))


def _decoder(section: Mapping[str, Any], where: str, _: Mapping[str, Any]) -> Counts:
    return count_decoder(build(DecoderConfig, section, where))


def _llm(_: Mapping[str, Any], where: str, all_values: Mapping[str, Any]) -> Counts:
    """Of a unified model, at the query tokens alone: how long a prompt stands before them is not known."""
    known = {field.name for field in fields(ModelSettings)}
    settings = build(ModelSettings, {k: v for k, v in all_values.items() if k in known}, where)
    width, queries, dit = settings.llm.width, settings.num_queries, settings.dit
    sees = bare(lambda: Projector(dit.channels, width, settings.projector_depth))
    intends = bare(lambda: Connector(width, dit.condition_width, settings.connector_depth))
    latents = torch.empty(1, queries, dit.channels, device="meta")
    states = torch.empty(1, queries, width, device="meta")
    return {
        "queries": Count(parameters=queries * width),
        **count_llm(settings.llm, queries),
        **count(sees, lambda: sees(latents), lambda path: "projector"),
        **count(intends, lambda: intends(states), lambda path: "connector"),
    }


def _dit(section: Mapping[str, Any], where: str, _: Mapping[str, Any]) -> Counts:
    return _prefixed("dit", count_body("lightning", build(DiTConfig, section, where)))


def _body(section: Mapping[str, Any], where: str, _: Mapping[str, Any]) -> Counts:
    if "kind" not in section:
        raise ValueError(f"{where}: expected a kind, found none")
    kind = section["kind"]
    sizes = {key: value for key, value in section.items() if key != "kind"}
    return _prefixed("dit", count_body(kind, build(body_classes(kind)[0], sizes, where)))


def _prefixed(prefix: str, counts: Counts) -> Counts:
    return {f"{prefix} {room}": found for room, found in counts.items()}


SECTIONS = {"encoder": _encoder, "llm": _llm, "dit": _dit, "body": _body, "decoder": _decoder}
"""Sections of config files that can be counted: (section, name for errors, all sections) -> counts."""
