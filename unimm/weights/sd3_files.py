"""Published Stable Diffusion 3 transformers on disk, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from unimm.files import MAX_BYTES, read_tensors
from unimm.weights.folder import DIFFUSERS_STEM, load_folder, save_folder
from unimm.weights.sd3 import SINGLE_FILE, diffusers_sd3, original_sd3, original_sd3_sizes
from unimm.weights.sd3_config import mmdit_config, to_diffusers_config


def read_sd3_folder(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (sizes as in MMDiTConfig, parameters) of diffusers' `transformer` folder, sharded or not.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: a config or tensors that are not SD3's; all faults are listed.
    """
    config, theirs = load_folder(folder, DIFFUSERS_STEM)
    sizes = mmdit_config(config)
    return sizes, diffusers_sd3(sizes).read(theirs)[0]


def write_sd3_folder(
    ours: Mapping[str, Tensor],
    sizes: Mapping[str, Any],
    folder: str | Path,
    max_shard_bytes: int = 10**10,
) -> None:
    """Write a folder that diffusers' SD3Transformer2DModel.from_pretrained reads.

    Args:
        ours: the state of an MMDiT, with the buffers positions.columns and positions.rows.
        sizes: as in MMDiTConfig.
        folder, max_shard_bytes: as in `save_folder`.

    Raises:
        ValueError: missing or unexpected names, or as `save_folder`.
    """
    theirs = diffusers_sd3(sizes).write(ours)
    save_folder(theirs, to_diffusers_config(sizes), folder, max_shard_bytes, DIFFUSERS_STEM)


def read_sd3_file(
    path: str | Path, prefix: str = SINGLE_FILE, grid: int = 128, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (sizes as in MMDiTConfig, parameters) of an original single file.

    Autoencoder and text encoders, which some files hold too, are not read. `prefix` and `grid` as in
    `original_sd3_sizes`, `max_bytes` as in `read_tensors`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read safely, or tensors that are not SD3's; all faults are listed.
    """
    theirs = {name: x for name, x in read_tensors(path, max_bytes).items() if name.startswith(prefix)}
    sizes = original_sd3_sizes(theirs, prefix, grid)
    return sizes, original_sd3(sizes).read(theirs, prefix)[0]


def write_sd3_file(
    ours: Mapping[str, Tensor], sizes: Mapping[str, Any], path: str | Path, prefix: str = SINGLE_FILE
) -> None:
    """Write the original layout; other arguments and errors as in `write_sd3_folder`."""
    save_file(original_sd3(sizes).write(ours, prefix), path, metadata={"format": "pt"})
