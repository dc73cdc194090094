"""Our folder format: config.json and safetensors, in shards under an index, loaded strictly.

config.json                             plain values
model.safetensors                       or, above the shard size:
model-00001-of-00003.safetensors ...    and model.safetensors.index.json with `weight_map`

diffusers' folders are the same with another word for "model".
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unimm.weights.whole import give_usual_modes
from unimm.whole import read_json

CONFIG = "config.json"
STEM, DIFFUSERS_STEM = "model", "diffusion_pytorch_model"
MAX_SHARD_BYTES = 5 * 10**9


def save_folder(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    folder: str | Path,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    stem: str = STEM,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> None:
    """Write a folder whole or not at all: into a temporary neighbour, which is then renamed.

    An older folder of the same name is replaced if it holds nothing but what this function writes.
    `stem` is the first word of the files' names: DIFFUSERS_STEM for diffusers. `dtypes` are those of tensors
    that are stored in another than their own; they are cast shard by shard.

    Raises:
        ValueError: the folder holds other files, a tensor is larger than a shard may be, or the disk
            is full or not writable. Nothing is left behind.
    """
    folder = Path(folder).absolute()
    _refuse_to_replace(folder, stem)
    shards = split_into_shards(state, max_shard_bytes, dtypes)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written: {error}") from error
    try:
        _write(shards, config, partial, stem, dtypes or {})
        _swap(partial, folder)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: could not be saved and was left as it was: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_folder(folder: str | Path, stem: str = STEM) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (config, state) of a folder; every tensor on the CPU in its stored dtype.

    `stem` as in `save_folder`.

    Raises:
        FileNotFoundError: no such folder, or no config, weights or shard in it.
        ValueError: a file that cannot be read, or shards that disagree with their index.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"weights: no folder at {folder}")
    config = read_json(folder / CONFIG, of="weights")
    index = folder / _index(stem)
    if not index.exists():
        return config, _read_shard(folder / _single(stem))
    weight_map = read_json(index, of="weights").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index}: expected a 'weight_map' of tensor names to file names")
    state: dict[str, Tensor] = {}
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file:
            raise ValueError(f"{index}: expected names of files beside it, got {file!r}")
        state.update(_read_shard(folder / file))
    refuse(str(folder), missing=weight_map.keys() - state.keys(), unexpected=state.keys() - weight_map.keys())
    return config, state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], name: str = "weights") -> None:
    """Copy state into the module; both have the same names and shapes, or nothing is changed.

    Raises:
        ValueError: missing, unexpected or misshapen names, all of them listed.
    """
    check_state(module.state_dict(), state, name)
    module.load_state_dict(state, strict=True)


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str = "weights") -> None:
    """Raise one ValueError that lists every missing, unexpected and misshapen tensor, if there is any."""
    misshapen = [
        f"{key} (expected {list(expected[key].shape)}, got {list(found[key].shape)})"
        for key in expected.keys() & found.keys()
        if expected[key].shape != found[key].shape
    ]
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    refuse(name, missing=missing, unexpected=unexpected, misshapen=misshapen)


def check_tables(
    buffers: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str = "tables", tolerance: float = 1e-4
) -> None:
    """Raise one ValueError that lists the constants of a file that differ from the ones we compute.

    Published files carry position and rotary tables; other ones than ours mean another network.
    """
    wrong = [
        key
        for key, x in found.items()
        if key not in buffers
        or buffers[key].shape != x.shape
        or not torch.allclose(buffers[key].to(x), x, rtol=0, atol=tolerance)
    ]
    refuse(name, differing=wrong)


def refuse(name: str, **faults: Collection[str]) -> None:
    """Raise a ValueError that lists the faults by kind, sorted; do nothing when there are none."""
    listed = [f"{kind}: {', '.join(sorted(keys))}" for kind, keys in faults.items() if keys]
    if listed:
        raise ValueError(f"{name}: the tensors do not fit; " + "; ".join(listed))


def split_into_shards(
    state: Mapping[str, Tensor], max_shard_bytes: int, dtypes: Mapping[str, torch.dtype] | None = None
) -> list[dict[str, Tensor]]:
    """Return the state in consecutive parts of at most max_shard_bytes of tensor data each, in those dtypes.

    Raises:
        ValueError: one tensor alone is larger.
    """
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, x in state.items():
        nbytes = x.numel() * (dtypes or {}).get(name, x.dtype).itemsize
        if nbytes > max_shard_bytes:
            raise ValueError(f"max_shard_bytes: {name} alone has {nbytes} bytes, above {max_shard_bytes}")
        if shards[-1] and size + nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = x
        size += nbytes
    return shards


def _single(stem: str) -> str:
    return f"{stem}.safetensors"


def _index(stem: str) -> str:
    return f"{stem}.safetensors.index.json"


def _write(
    shards: Sequence[Mapping[str, Tensor]],
    config: Mapping[str, Any],
    folder: Path,
    stem: str,
    dtypes: Mapping[str, torch.dtype],
) -> None:
    write_json(config, folder / CONFIG)
    names = [_single(stem)]
    if len(shards) > 1:
        names = [f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        sizes = (
            x.numel() * dtypes.get(key, x.dtype).itemsize for shard in shards for key, x in shard.items()
        )
        size = sum(sizes)
        write_json({"metadata": {"total_size": size}, "weight_map": weight_map}, folder / _index(stem))
    for name, shard in zip(names, shards, strict=True):
        # Clones: safetensors refuses tensors that share memory, and stores views whole.
        plain = {key: x.detach().cpu().clone().contiguous() for key, x in shard.items()}
        plain = {key: x.to(dtypes.get(key, x.dtype)) for key, x in plain.items()}
        save_file(plain, folder / name, metadata={"format": "pt"})
    folder.chmod(0o755)  # mkdtemp makes it private
    give_usual_modes(folder)


def _swap(partial: Path, folder: Path) -> None:
    """Put partial in the place of folder; between two renames an old folder waits under another name."""
    if not folder.exists():
        partial.rename(folder)
        return
    old = partial.with_name(partial.name + "-old")
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _refuse_to_replace(folder: Path, stem: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder or nothing, found a file")
    others = [e.name for e in folder.iterdir() if not _is_ours(e.name, stem)] if folder.is_dir() else []
    if others:
        raise ValueError(
            f"{folder}: not overwritten, it holds other files: {', '.join(sorted(others))}; choose another"
        )


def _is_ours(name: str, stem: str) -> bool:
    known = (CONFIG, _single(stem), _index(stem))
    return name in known or (name.startswith(f"{stem}-") and name.endswith(".safetensors"))


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_shard(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"weights: no {path.name} in {path.parent}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not readable as safetensors, cut short? ({error})") from error
