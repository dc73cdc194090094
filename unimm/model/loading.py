"""From a name to a model and back: loading that accepts no gap, saving that leaves no half."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unimm.model.config import UniMMConfig
from unimm.tables import suggestion
from unimm.weights.scale_rae_config import MODEL_TYPE
from unimm.weights.shards import refuse_faults, shards_in
from unimm.whole import read_json

ASSETS = Path(__file__).resolve().parents[1] / "assets"
BUILT_IN = ("tiny",)
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
OPTIONS = (
    "dtype", "profile", "adapter", "config", "vision_tower", "decoder", "tokenizer", "revision", "token",
    "cache_dir", "force_download", "local_files_only", "device_map", "max_memory", "offload_folder",
    "offload_buffers", "attn_implementation", "quantization_config",
)  # fmt: skip
"""What `UniMM.from_pretrained` is usually told, by name."""
SELDOM = (
    "adapter_kwargs", "adapter_name", "allow_all_kernels", "device_mesh", "disable_mmap",
    "distributed_config", "experts_implementation", "fusion_config", "generation_config", "gguf_file",
    "ignore_mismatched_sizes", "kernel_config", "key_mapping", "low_cpu_mem_usage", "proxies", "state_dict",
    "subfolder", "torch_dtype", "tp_plan", "tp_size", "tqdm_class", "trust_remote_code", "use_kernels",
    "use_safetensors", "variant", "weights_only",
)  # fmt: skip
"""What transformers' `from_pretrained` takes besides."""
QUANTISING = ("load_in_8bit", "load_in_4bit")
"""What it took once."""
LISTED = 12  # names spelled out per kind of mistake; the rest is counted


def find_folder(name: str | os.PathLike[str], **hub: Any) -> Path:
    """Return the folder of a built-in model, of a folder's path, or of a hub id (downloaded once).

    Raises:
        FileNotFoundError: a path without a folder, or a hub id that cannot be had.
        ValueError: a name that is none of the three, with a suggestion.
    """
    text = os.fspath(name)
    if text in BUILT_IN:
        if not (ASSETS / text / "config.json").is_file():
            raise FileNotFoundError(
                f"{text}: the built-in weights are not in this installation ({ASSETS / text})"
            )
        return ASSETS / text
    if Path(text).is_dir():
        return Path(text)
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        missing = f"model: there is no folder {text}, and the hub has no such model or cannot be reached"
        return download(text, HUB_FILES, hub, missing)
    if os.sep in text or text.startswith("."):
        raise FileNotFoundError(f"model: expected a folder at {text}, found none")
    raise ValueError(
        f"model: expected {' or '.join(map(repr, BUILT_IN))}, a folder, or a hub id owner/name, "
        f"got {text!r}{suggestion(text, BUILT_IN)}"
    )


def read_config(folder: Path) -> UniMMConfig:
    """Return the configuration saved in a folder.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: it is not the configuration of a unimm model.
    """
    path = folder / "config.json"
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"model: {folder} holds an adapter; load the model it was made for, with adapter={str(folder)!r}"
        )
    values = read_json(path, of="model")
    kind = values.get("model_type")
    if kind != UniMMConfig.model_type:
        raise ValueError(
            f"{path}: expected model_type {UniMMConfig.model_type!r}, or {MODEL_TYPE!r} of a published "
            f"Scale-RAE model, got {kind!r}"
        )
    try:
        return UniMMConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def refuse_options(options: Mapping[str, Any]) -> None:
    """Refuse options that nothing would read; transformers would give them to the model's class.

    Raises:
        ValueError: there are any.
    """
    if old := [name for name in QUANTISING if name in options]:
        raise ValueError(
            f"{old[0]}: give quantization_config=BitsAndBytesConfig({old[0]}=True), of transformers, instead"
        )
    known = {*OPTIONS, *SELDOM}
    if unknown := [name for name in options if name not in known and not name.startswith("_")]:
        raise ValueError(
            f"{', '.join(unknown)}: expected options among {', '.join(OPTIONS)}, or transformers' own for "
            f"loading, got {unknown[0]!r}{suggestion(unknown[0], known)}"
        )


def refuse_parts(folder: Path, parts: Mapping[str, Any]) -> None:
    """Refuse parts that were given beside a folder that is no published model.

    Raises:
        ValueError: there are any.
    """
    if given := sorted(name for name, part in parts.items() if part is not None):
        raise ValueError(
            f"{', '.join(given)}: expected only with a published Scale-RAE model (model_type "
            f"'cambrian_qwen'), got them with {folder}, which is none"
        )


def rooms_of(cls: type[PreTrainedModel], config: UniMMConfig) -> list[str]:
    """Return the names of all rooms of a model."""
    with torch.device("meta"):
        return [name for name, _ in cls(config).named_children()]


def expected(cls: type[PreTrainedModel], config: UniMMConfig) -> tuple[dict[str, torch.Size], set[str]]:
    """Return the shape of every tensor of a model, and the names that may be missing, as they are tied."""
    with torch.device("meta"):
        plan = cls(config)
    return {name: x.shape for name, x in plan.state_dict().items()}, set(plan.all_tied_weights_keys)


def check_weights(folder: Path, wanted: Mapping[str, torch.Size], optional: set[str]) -> None:
    """Compare the names and shapes in a folder with those of the model, before anything is loaded.

    Args:
        folder: a folder with safetensors.
        wanted: shape of every tensor of the model.
        optional: names that may be missing, because they are tied to others.

    Raises:
        FileNotFoundError: no weights, or some of their files are missing.
        ValueError: files cut short or that disagree with their index, or one error that lists every missing,
            unexpected and misshapen tensor.
    """
    shards = shards_in(folder)
    refuse_faults(shards, folder)
    compare(str(folder), shards.tensors, wanted, optional)


def compare(
    name: str, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], optional: Collection[str]
) -> None:
    """Raise one ValueError that lists every missing, unexpected and misshapen tensor, if there is any.

    Args:
        name: what the error calls the place of the tensors.
        found: tensors, or their headers.
        wanted, optional: as in `check_weights`.
    """
    missing = sorted(wanted.keys() - found.keys() - set(optional))
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{key} (expected {list(wanted[key])}, got {list(found[key].shape)})"
        for key in sorted(found.keys() & wanted.keys())
        if found[key].shape != wanted[key]
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    faults = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    if faults:
        raise ValueError(f"{name}: the weights do not fit the configuration; {'; '.join(faults)}")


def check_tokenizer(tokenizer: Any, config: UniMMConfig) -> None:
    """Refuse a tokenizer with more tokens than the model has rows for; fewer are no fault.

    Raises:
        ValueError: it has more.
    """
    rows = config.settings.llm.vocab_size
    if len(tokenizer) > rows:
        raise ValueError(f"tokenizer: expected at most {rows} tokens (llm.vocab_size), got {len(tokenizer)}")


def download(name: str, patterns: list[str], hub: Mapping[str, Any], missing: str) -> Path:
    """Return the folder of a hub model, whose files that fit the patterns are fetched once.

    Args:
        name: its id.
        patterns: of names of files.
        hub: options of `snapshot_download`.
        missing: what to say where it cannot be had.

    Raises:
        FileNotFoundError: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=patterns, **hub))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(f"{missing} ({reason})") from None


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
