"""Counting what a config file states: a model, a generator, or a training run that holds or names one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unimm.config import FILE_KEY, build
from unimm.connector import Connector
from unimm.dit.bodies import body_classes
from unimm.latents.autoencoder import latent_space
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.latents.targets import TargetConfig
from unimm.model.config import ModelSettings
from unimm.projector import Projector
from unimm.text.sd3 import SD3TextConfig
from unimm.training.count import Count, Counts, count
from unimm.training.examples import TEXT_TOKENS
from unimm.training.inventory import (
    bare,
    count_body,
    count_decoder,
    count_encoder,
    count_latent_space,
    count_llm,
    count_projectors,
    count_target,
    count_text,
)
from unimm.training.repa import Alignment
from unimm.training.vae import VAESizes

Values = Mapping[str, Any]


def count_file(path: str | Path, overrides: Sequence[str] = ()) -> Counts:
    """Return the counts of every room that a YAML file states, after `key=value` overrides.

    Raises:
        FileNotFoundError: the file, or one it names, does not exist.
        ValueError: no YAML mapping, no room at all, or one whose settings do not build.
        ImportError: a VAE without diffusers.
    """
    path = Path(path)
    values = _read(path)
    for key, section in list(values.items()):
        if isinstance(section, dict) and FILE_KEY in section:
            rest = {name: value for name, value in section.items() if name != FILE_KEY}
            values[key] = OmegaConf.merge(_read(path.parent / str(section[FILE_KEY])), rest)
    values = OmegaConf.to_container(OmegaConf.merge(values, OmegaConf.from_dotlist(list(overrides))))
    return count_settings(values, str(path))


def count_settings(values: Values, where: str) -> Counts:
    """Return the counts of every room among plain values; `where` names them in errors. As `count_file`."""
    inside = [values[key] for key in ("model", "generator") if isinstance(values.get(key), Mapping)]
    stated = {key: value for part in (values, *inside) for key, value in part.items()}
    counts: Counts = {}
    for name, count_section in SECTIONS.items():
        if isinstance(stated.get(name), Mapping):  # a run names its caches and folders in the same words
            counts |= count_section(stated[name], f"{where}: {name}", stated)
    if not counts:
        started = next((part["start"] for part in (values, values.get("learner")) if _starts(part)), None)
        goes_on = "" if started is None else f"; it goes on with {started!r}, whose own config has the sizes"
        raise ValueError(
            f"{where}: expected at least one of the sections {', '.join(SECTIONS)}, found none{goes_on}"
        )
    return counts


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


# Sections: (its values, its name in errors, all that is stated) -> counts.


def _encoder(section: Values, where: str, _: Values) -> Counts:
    return count_encoder(build(EncoderConfig, section, where))


def _decoder(section: Values, where: str, _: Values) -> Counts:
    return count_decoder(build(DecoderConfig, section, where))


def _llm(_: Values, where: str, stated: Values) -> Counts:
    """Of a unified model, at the query tokens alone: how long a prompt stands before them is not known."""
    known = {field.name for field in fields(ModelSettings)}
    settings = build(ModelSettings, {k: v for k, v in stated.items() if k in known}, where)
    width, queries, dit, seen = settings.llm.width, settings.num_queries, settings.dit, settings.encoder.width
    sees = bare(lambda: Projector(seen, width, settings.projector_depth))
    intends = bare(lambda: Connector(width, dit.condition_width, settings.connector_depth))
    latents = torch.empty(1, queries, seen, device="meta")
    states = torch.empty(1, queries, width, device="meta")
    return {
        "queries": Count(parameters=queries * width),
        **count_llm(settings.llm, queries),
        **count(sees, lambda: sees(latents), lambda path: "projector"),
        **count(intends, lambda: intends(states), lambda path: "connector"),
    }


def _dit(section: Values, where: str, stated: Values) -> Counts:
    kind = stated.get("body", "lightning")  # whose section `body` is a word
    return _prefixed("dit", count_body(kind, build(body_classes(kind)[0], section, where)))


def _body(section: Values, where: str, stated: Values) -> Counts:
    kind, config = _of_kind(section, where, body_classes)
    text = stated.get("text")
    tokens = build(SD3TextConfig, text, where).num_tokens if _reads_text(stated) and text else TEXT_TOKENS
    return _prefixed("dit", count_body(kind, config, tokens))


def _text(section: Values, where: str, stated: Values) -> Counts:
    return count_text(build(SD3TextConfig, section, where)) if _reads_text(stated) else {}


def _latents(section: Values, where: str, _: Values) -> Counts:
    return count_latent_space(*_of_kind(section, where, latent_space))


def _vae(section: Values, where: str, _: Values) -> Counts:
    """Of a run that trains one."""
    return _prefixed("vae", count_latent_space("vae", build(VAESizes, section, where).config()))


def _drawn(section: Values, where: str, stated: Values) -> Counts:
    return _prefixed("drawn", _latents(section, where, stated))


def _alignment(section: Values, where: str, stated: Values) -> Counts:
    alignment = build(Alignment, section, where)
    _, body = _of_kind(stated.get("body", {}), where, body_classes)
    targets = {name: target.config for name, target in alignment.targets.items()}
    widths = [target.width for target in targets.values()]
    counts = _prefixed("alignment", count_projectors(body.width, widths, body.side**2, alignment.hidden))
    for name, target in targets.items():
        seen = count_target(target) if isinstance(target, TargetConfig) else count_encoder(target)
        counts |= _prefixed(f"alignment {name}", seen)
    return counts


def _of_kind(section: Values, where: str, classes: Callable[[str], tuple[type, type]]) -> tuple[str, Any]:
    if "kind" not in section:
        raise ValueError(f"{where}: expected a kind, found none")
    sizes = {key: value for key, value in section.items() if key != "kind"}
    return section["kind"], build(classes(section["kind"])[0], sizes, where)


def _starts(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("start") is not None


def _reads_text(stated: Values) -> bool:
    """Other stages have a section `text` that means something else."""
    body = stated.get("body")
    return isinstance(body, Mapping) and body.get("kind") == "mmdit"


def _prefixed(prefix: str, counts: Counts) -> Counts:
    return {f"{prefix} {room}": found for room, found in counts.items()}


SECTIONS: dict[str, Callable[[Values, str, Values], Counts]] = {
    "encoder": _encoder,
    "text": _text,
    "llm": _llm,
    "dit": _dit,
    "body": _body,
    "decoder": _decoder,
    "latents": _latents,
    "vae": _vae,
    "drawn": _drawn,
    "alignment": _alignment,
}
