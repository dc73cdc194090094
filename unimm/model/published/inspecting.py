"""What a real folder or repository holds, told by headers alone; everything wrong with it is told too.

Whoever first meets the published files sees with this at once in what they differ from what was expected.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from unimm.config import to_dict
from unimm.files import read_tensors
from unimm.latents.encoder import ENCODERS
from unimm.latents.vae_folder import vae_sizes
from unimm.model.config import UniMMConfig
from unimm.model.loading import compare, expected, refuse_parts
from unimm.model.published.origin import PATH_FIELD
from unimm.model.published.parts import find_beside, sources
from unimm.model.published.places import place_of
from unimm.model.unimm import UniMM
from unimm.weights.rae import decoder_part
from unimm.weights.scale_rae_config import (
    MODEL_TYPE,
    Contradiction,
    check_fields,
    missing_head,
    model_sizes,
)
from unimm.weights.scale_rae_decoder import WEIGHTS, is_decoder_config, pixel_decoder_sizes
from unimm.weights.scale_rae_model import HEAD, LM_HEAD, layout_of, model_map
from unimm.weights.scale_rae_published import DECODERS, MODELS, differences
from unimm.weights.shards import DAMAGED, MISSING, LocalPlace, Place, Shards, shards_in

ABSENT = {
    "null condition (it cannot be guided)": (f"{HEAD}y_embedder.dropout_embedding",),
    "lm_head.weight (the embedding serves for it, if the config ties them)": (LM_HEAD,),
    "latent statistics (latents are drawn as the vision tower gives them)": ("diff_head.data_mean",),
    "position table (it is recomputed)": (f"{HEAD}pos_embed",),
    "rotary table (it is recomputed)": (f"{HEAD}feat_rope.freqs_cos", f"{HEAD}enc_rope.freqs_cos"),
}
"""What a published model may be without, and tensors of which one tells that it is there."""


@dataclass
class Inspection:
    """What a place holds."""

    place: str
    kind: str = "unknown"
    """"scale_rae", "scale_rae_decoder", "unimm", "vision_tower", "vae" or "unknown"."""
    model_type: str | None = None
    """As its config.json says."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """name; bytes, null where the index names it and it is not there; number of tensors in safetensors."""
    num_tensors: int = 0
    num_numbers: int = 0
    """In all tensors, constants included."""
    dtypes: dict[str, int] = field(default_factory=dict)
    """Numbers by dtype."""
    sizes: dict[str, Any] = field(default_factory=dict)
    """As the tensors tell them, and the config where they do not."""
    absent: list[str] = field(default_factory=list)
    nearest: str | None = None
    """The published model or decoder whose table it is nearest to."""
    came_from: str | None = None
    """Which layout it was converted from, if it was."""
    differs: list[str] = field(default_factory=list)
    """In what it differs from that table."""
    contradictions: list[str] = field(default_factory=list)
    """Where the config says otherwise than the tensors."""
    needs: list[str] = field(default_factory=list)
    """What loading it needs besides."""
    faults: list[str] = field(default_factory=list)
    """What keeps it from being loaded as it is."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def inspect(
    name: str | os.PathLike[str],
    hub: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Inspection:
    """Return what a folder, a built-in model or a repository on the hub holds; no tensor is read.

    Args:
        name: which of them; a folder may be half downloaded.
        hub: `revision` and `token`.
        parts: folders or hub ids that loading will be given, by the names in PARTS; no repository is asked.

    Raises:
        FileNotFoundError: no such folder or repository.
        ValueError: parts of what is no published Scale-RAE model.
    """
    place = place_of(os.fspath(name), hub)
    files = place.files()
    report = Inspection(place.name, files=[{"name": each, "bytes": size} for each, size in files.items()])
    values = _config(place, files, report)
    report.model_type = values.get("model_type")
    report.kind = next((kind for kind, (fits, _) in KINDS.items() if fits(values)), "unknown")
    KINDS.get(report.kind, (None, _look_into_unknown))[1](place, values, report)
    if report.kind == "scale_rae":
        _look_for_parts(place, values, report, parts or {})
    elif report.kind != "unknown":  # of which the report says what is wrong
        refuse_parts(Path(report.place), parts or {})
    return report


def _config(place: Place, files: Mapping[str, int], report: Inspection) -> dict[str, Any]:
    if "config.json" not in files:
        report.faults.append("no config.json: nothing says what this is")
        return {}
    try:
        values = json.loads(place.read("config.json"))
    except ValueError as error:
        report.faults.append(f"config.json: expected JSON, could not read it ({error})")
        return {}
    if not isinstance(values, dict):
        report.faults.append(f"config.json: expected a JSON object, got {type(values).__name__}")
        return {}
    return values


def _look_into_model(place: Place, values: dict[str, Any], report: Inspection) -> None:
    _try(report, check_fields, values, "config.json")
    shards = _shards(place, report)
    names = shards.tensors.keys() | shards.promised.keys()
    report.absent = [words for words, telling in ABSENT.items() if names and names.isdisjoint(telling)]
    if names and missing_head(values, names):
        report.faults.append(f"{LM_HEAD} is absent, and the config does not tie it to the embedding")
    told = _sizes(report, values, shards)
    if told is not None:
        report.sizes, contradictions = told
        _note(report, contradictions, MODELS)
        layout = layout_of(shards.tensors, report.sizes["body"], report.sizes["dit"])
        _try(report, model_map(layout).check, names)


def _look_for_parts(
    place: Place, values: dict[str, Any], report: Inspection, parts: Mapping[str, Any]
) -> None:
    for source in sources(values, place.name, parts).values():
        if (found := _try(report, find_beside, source, place.files())) is not None:
            report.needs.append(found)
    if values.get(PATH_FIELD):
        report.needs.append(f"statistics: {PATH_FIELD} names {values[PATH_FIELD]!r}")


def _sizes(report: Inspection, values: dict[str, Any], shards: Shards) -> Any:
    """Return what `model_sizes` tells; None where files are missing: the rest would tell other sizes."""
    if not shards.tensors or shards.faults.keys() & {MISSING, DAMAGED}:
        return None
    return _try(report, model_sizes, values, shards.tensors, "config.json")


def _look_into_decoder(place: Place, values: dict[str, Any], report: Inspection) -> None:
    if WEIGHTS not in place.files():
        report.faults.append(f"{WEIGHTS} is not there: the decoder's config without its weights")
    elif not isinstance(place, LocalPlace):
        report.needs.append(f"{WEIGHTS}, a pickle, which is read only where it is on this machine")
    elif (theirs := _try(report, _pickled, place)) is not None:
        _count(report, theirs)
        told = _try(report, pixel_decoder_sizes, values, theirs, "config.json")
        if told is not None:
            report.sizes, contradictions = told
            _note(report, contradictions, DECODERS)


def _pickled(place: LocalPlace) -> dict[str, Tensor]:
    return decoder_part(read_tensors(place.path / WEIGHTS))


def _look_into_ours(place: Place, values: dict[str, Any], report: Inspection) -> None:
    config = _try(report, UniMMConfig.from_dict, values)
    shards = _shards(place, report)
    if config is not None:
        report.sizes = to_dict(config.settings)
        if not report.faults:
            _try(report, _compare, config, shards)
        report.came_from = "scale_rae" if getattr(config, "scale_rae", None) else None


def _compare(config: UniMMConfig, shards: Shards) -> None:
    compare("weights", shards.tensors, *expected(UniMM, config))


def _look_into_tower(place: Place, values: dict[str, Any], report: Inspection) -> None:
    _shards(place, report)
    vision = values.get("vision_config", values)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size")
    report.sizes = {name: vision[name] for name in (*names, "patch_size", "mlp_ratio") if name in vision}


def _look_into_vae(place: Place, values: dict[str, Any], report: Inspection) -> None:
    _shards(place, report, "diffusion_pytorch_model")
    report.sizes = _try(report, vae_sizes, values) or {}


def _look_into_unknown(place: Place, values: dict[str, Any], report: Inspection) -> None:
    if not report.faults:  # the config was read
        kinds = f"{MODEL_TYPE!r}, {UniMMConfig.model_type!r}"
        report.faults.append(f"model_type {report.model_type!r} is none that is known here ({kinds} are)")
    if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in place.files()):
        _shards(place, report)


KINDS: dict[str, tuple[Callable[[Mapping[str, Any]], bool], Callable[..., None]]] = {
    "scale_rae": (lambda values: values.get("model_type") == MODEL_TYPE, _look_into_model),
    "unimm": (lambda values: values.get("model_type") == UniMMConfig.model_type, _look_into_ours),
    "scale_rae_decoder": (is_decoder_config, _look_into_decoder),
    "vae": (lambda values: values.get("_class_name") == "AutoencoderKL", _look_into_vae),
    "vision_tower": (
        lambda values: any(values.get("model_type") in each.model_types for each in ENCODERS.values()),
        _look_into_tower,
    ),
}
"""How each kind is recognised by its config.json, and what looks into it."""


def _shards(place: Place, report: Inspection, stem: str = "model") -> Shards:
    """Return what the safetensors hold, after noting it in the report."""
    found = _try(report, shards_in, place, stem) or Shards()
    for row in report.files:
        if row["name"] in found.files:
            row["tensors"] = len(found.files[row["name"]])
    for name in sorted(set(found.promised.values()) - found.files.keys()):
        promised = sum(file == name for file in found.promised.values())
        report.files.append({"name": name, "bytes": None, "tensors": promised})
    report.faults += found.described
    _count(report, found.tensors)
    return found


def _count(report: Inspection, tensors: Mapping[str, Tensor]) -> None:
    numbers: Counter[str] = Counter()
    for x in tensors.values():
        numbers[str(x.dtype).removeprefix("torch.")] += x.numel()
    report.num_tensors, report.num_numbers = len(tensors), numbers.total()
    report.dtypes = dict(numbers)


def _note(report: Inspection, contradictions: list[Contradiction], table: Mapping[str, Any]) -> None:
    report.contradictions = [
        f"{field} is {said!r} in config.json and {told!r} in the tensors"
        for field, said, told in contradictions
    ]
    report.nearest, report.differs = differences(report.sizes, table)


def _try(report: Inspection, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function gives; what it refuses becomes a fault, and the rest is looked at as well."""
    try:
        return function(*arguments)
    except (ValueError, FileNotFoundError) as error:
        report.faults.append(str(error))
        return None
