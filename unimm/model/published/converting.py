"""From a published folder to ours and back, tensor by tensor; no model is built and nothing is held whole.

Ours is what `save_pretrained` writes, and beside it `scale_rae.safetensors` where the published files hold
something that the model has no use for and that its own tensors do not give back bit by bit. Theirs is the
official model folder with `decoder/`, `vision_tower/` and, where its config names one, a statistics file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unimm.files import read_tensors
from unimm.model.loading import find_folder
from unimm.model.opened import Opened, open_ours
from unimm.model.published.opening import open_published
from unimm.model.published.origin import PATH_FIELD
from unimm.model.published.parts import is_published
from unimm.model.published.writing import published_files
from unimm.model.unimm import UniMM
from unimm.model.verifying.calibrated import save_calibrations
from unimm.tables import pick
from unimm.verify.calibrations import FILE, read_calibrations
from unimm.weights.folder import DIFFUSERS_STEM, MAX_SHARD_BYTES, save_folder, write_json
from unimm.weights.scale_rae_decoder import WEIGHTS
from unimm.weights.whole import save_whole

KEPT = "scale_rae.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json",
)  # fmt: skip
NO_PARAMETERS = ("statistics.", "data_mean", "data_std", "pos_embed", "freqs_cos", "freqs_sin")
"""What stays in its own dtype when parameters are cast: it is no parameter."""


@dataclass(frozen=True)
class Options:
    """How a folder is written."""

    dtype: torch.dtype | None = None
    """Of parameters; None: each as it is stored. Statistics and constants stay as they are."""
    max_shard_bytes: int = MAX_SHARD_BYTES
    """Of each safetensors file of the model."""


@dataclass(frozen=True)
class Converted:
    """What was written."""

    folder: Path
    kind: str
    """"unimm" or "scale_rae"."""
    num_tensors: int
    num_bytes: int
    kept: tuple[str, ...]
    """Published tensors that the model does not use, kept beside it."""
    left_out: tuple[str, ...]
    """Files of the source that are no part of the model and were not taken along."""


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: str | None = None,
    options: Options | None = None,
    parts: Mapping[str, Any] | None = None,
    hub: Mapping[str, Any] | None = None,
) -> Converted:
    """Write a folder in the other layout, whole or not at all.

    Args:
        source: a published folder or hub id, or one of ours ("tiny" too).
        target: the folder to write; other files in it are kept.
        to: "unimm" or "scale_rae"; None is the layout that the source does not have.
        options: dtype and size of files.
        parts: vision_tower, decoder, tokenizer of a published source; see `open_published`.
        hub: options for what comes from the hub.

    Raises:
        FileNotFoundError: the source or a part of it is not there.
        OSError: the disk is full or the target cannot be written; nothing has changed then.
        ValueError: an unknown layout, a source that cannot be read, or a model that the layout has no place
            for.
    """
    folder = find_folder(source, **(hub or {}))
    theirs = is_published(folder)
    write = pick("to", to or ("unimm" if theirs else "scale_rae"), WRITERS)
    opened = _opened(folder, parts or {}, hub or {})
    if Path(target).resolve() == folder.resolve():
        raise ValueError(f"{target}: expected another folder than the one that is read")
    counts: list[Tensor] = []
    calibrations = read_calibrations(folder / FILE)  # of these weights, whatever they are called

    def write_all(partial: Path) -> None:
        write(opened, partial, options or Options(), counts.append)
        save_calibrations(partial, calibrations)

    save_whole(write_all, target)
    kind = next(name for name, each in WRITERS.items() if each is write)
    nbytes = sum(x.nbytes for x in counts)
    return Converted(
        Path(target), kind, len(counts), nbytes, tuple(sorted(opened.kept)), _left_out(folder, opened)
    )


def _left_out(folder: Path, opened: Opened) -> tuple[str, ...]:
    """Return the files directly in a folder that nothing was read from."""
    statistics = (getattr(opened.config, "scale_rae", None) or {}).get("config", {}).get(PATH_FIELD) or ""
    read = {"config.json", KEPT, FILE, Path(statistics).name, *TOKENIZER_FILES}
    names = (path.name for path in folder.iterdir() if path.is_file())
    return tuple(sorted(name for name in names if name not in read and ".safetensors" not in name))


def _opened(folder: Path, parts: Mapping[str, Any], hub: Mapping[str, Any]) -> Opened:
    """Return a folder of either layout, with what was kept of published files."""
    if is_published(folder):
        return open_published(UniMM, folder, parts, hub)
    kept = dict(read_tensors(folder / KEPT)) if (folder / KEPT).is_file() else {}
    return replace(open_ours(UniMM, folder, parts), kept=kept)


def _write_ours(opened: Opened, folder: Path, options: Options, count: Callable[[Tensor], Any]) -> None:
    config = opened.config
    config.architectures = [UniMM.__name__]
    if options.dtype is not None:
        config.dtype = options.dtype
    values = json.loads(config.to_json_string())
    _save(opened.state, values, folder, options, count)
    if opened.kept:
        save_file(_plain(opened.kept), folder / KEPT, metadata={"format": "pt"})
    if opened.tokenizer is not None:
        opened.tokenizer.save_pretrained(folder)


def _write_theirs(opened: Opened, folder: Path, options: Options, count: Callable[[Tensor], Any]) -> None:
    files = published_files(UniMM, opened.config, opened.state, opened.kept)
    values = dict(files.model.values)
    if options.dtype is not None:
        values["torch_dtype"] = str(options.dtype).removeprefix("torch.")
    _save(files.model.state, values, folder, options, count)
    _save(files.vision_tower.state, files.vision_tower.values, folder / "vision_tower", options, count)
    write_json(files.colours, folder / "vision_tower" / "preprocessor_config.json")
    decoder = folder / "decoder"
    if files.is_vae:
        _save(files.decoder.state, files.decoder.values, decoder, options, count, DIFFUSERS_STEM)
    else:
        decoder.mkdir()
        write_json(files.decoder.values, decoder / "config.json")
        dtypes = _dtypes(files.decoder.state, options)
        state = {name: x.to(dtypes.get(name, x.dtype)) for name, x in _plain(files.decoder.state).items()}
        torch.save(state, decoder / WEIGHTS)
        for x in state.values():
            count(x)
    if files.statistics:
        torch.save(_plain(files.statistics), folder / Path(values[PATH_FIELD]).name)
    if opened.tokenizer is not None:
        opened.tokenizer.save_pretrained(folder)


WRITERS = {"unimm": _write_ours, "scale_rae": _write_theirs}
"""What writes each layout."""


def _save(
    state: Mapping[str, Tensor],
    values: Mapping[str, Any],
    folder: Path,
    options: Options,
    count: Callable[[Tensor], Any],
    stem: str = "model",
) -> None:
    save_folder(state, values, folder, options.max_shard_bytes, stem, _dtypes(state, options))
    for x in state.values():
        count(x)


def _dtypes(state: Mapping[str, Tensor], options: Options) -> dict[str, torch.dtype]:
    """Return the dtypes of the tensors that are cast: the parameters, where a dtype was asked for."""
    if options.dtype is None:
        return {}
    return {
        name: options.dtype
        for name, x in state.items()
        if x.is_floating_point() and not any(word in name for word in NO_PARAMETERS)
    }


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share nothing with a file or with each other."""
    return {name: x.detach().cpu().clone().contiguous() for name, x in state.items()}
