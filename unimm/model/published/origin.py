"""What a model remembers of the published folder that it came from, to be written back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimm.files import read_tensors
from unimm.weights.scale_rae_statistics import form_of, read_statistics_file, spread

NONE, IN_FILE = "none", "file"
PATH_FIELD = "diffusion_norm_stats_path"
FILE_PREFIX = "statistics/"
"""What stands before the names of a statistics file's tensors where they are kept."""
MEAN, STD = "statistics.mean", "statistics.std"
AGREE = 1e-3
"""How far statistics in the weights may be from those in the file: what rounding to 16 bits does."""


@dataclass(frozen=True)
class Origin:
    """What no setting of ours says of a published folder; stored in our config under `scale_rae`."""

    config: dict[str, Any]
    """The model's config.json, every field."""
    decoder_config: dict[str, Any] = field(default_factory=dict)
    """The decoder's."""
    tables: dict[str, str] = field(default_factory=dict)
    """Constants that the files hold, and their dtypes."""
    stored_head: bool = True
    """Whether `lm_head.weight` is stored, tied or not."""
    statistics: str = "none"
    """How statistics are stored: NONE, IN_FILE, or in the weights as "channel" or "token"."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Statistics:
    """Latent statistics as a model holds them, [N C]."""

    state: dict[str, Tensor]
    form: str
    """How they were stored; see Origin."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """The file that held them."""


def read_statistics(
    values: Mapping[str, Any], parameters: Mapping[str, Tensor], folder: Path, num_tokens: int, channels: int
) -> Statistics:
    """Return the statistics of a published model: in its tensors, in the file that its config names, or none.

    Args:
        values: its config.json.
        parameters: its tensors under our names.
        folder: where they are; the file is looked for there too.
        num_tokens: N.
        channels: C.

    Raises:
        FileNotFoundError: the config names a file that is not there, and the tensors hold no statistics.
        ValueError: one of the two numbers without the other, or a file that disagrees with the tensors.
    """
    mean, std, said = parameters.get(MEAN), parameters.get(STD), values.get(PATH_FIELD)
    if (mean is None) != (std is None):
        raise ValueError(f"{folder}: expected diff_head.data_mean and diff_head.data_std, got one of the two")
    form, kept = form_of(mean), {}
    path = _statistics_file(str(said), folder, needed=mean is None) if said else None
    if path is not None:
        file = read_tensors(path)
        told = read_statistics_file(file)
        if mean is None:
            (mean, std), form, kept = told, IN_FILE, {FILE_PREFIX + name: x for name, x in file.items()}
        else:
            _refuse_others((mean, std), told, path)
    if mean is None:
        mean, std = torch.zeros(channels), torch.ones(channels)
    numbers = {MEAN: mean, STD: std}
    return Statistics({name: spread(x, num_tokens) for name, x in numbers.items()}, form, kept)


def tokenizer_folder(folder: Path) -> Path:
    """Return the folder itself, or the `tokenizer` in it."""
    return folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder


def _statistics_file(said: str, folder: Path, needed: bool) -> Path | None:
    places = [Path(said), folder / said, folder / Path(said).name]
    found = next((place for place in places if place.is_file()), None)
    if found is None and needed:
        raise FileNotFoundError(
            f"{folder / 'config.json'}: {PATH_FIELD} is {said!r}, and there is no such file, nor "
            f"{Path(said).name} in {folder}, nor statistics in the weights; put it there, or set the field "
            "to null if the model was trained without"
        )
    return found


def _refuse_others(stored: tuple[Tensor, Tensor], told: tuple[Tensor, Tensor], path: Path) -> None:
    """Refuse a file whose statistics are not those in the weights."""
    for name, x, y in zip(("mean", "std"), stored, told, strict=True):
        apart = float((x.float() - y).abs().max()) if x.shape == y.shape else None
        if apart is None or not apart <= AGREE * max(1.0, float(y.abs().max())):
            raise ValueError(
                f"{path}: expected the statistics of the weights, got another {name}: shape {list(y.shape)} "
                f"for {list(x.shape)}" + ("" if apart is None else f", {apart:g} apart")
            )
