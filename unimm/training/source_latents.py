"""Latents of the pictures of data sets, encoded once and kept on disk: which picture is where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unimm.data.cache import CacheLayout, LatentCache
from unimm.data.collate import Looking
from unimm.data.samples import BrokenSample, Source
from unimm.data.standins import Spot
from unimm.data.talks import Fetch, SourceSettings
from unimm.model.unimm import UniMM
from unimm.parts import Image
from unimm.training.latents import SHARD, filled, weights_hash
from unimm.training.world_rows import TalkData
from unimm.whole import appearing

INDEX = "pictures.npz"
ROLES: dict[str, Callable[[Image], bool]] = {
    "both": lambda image: True,
    "seen": lambda image: not image.target,
    "drawn": lambda image: image.target,
}
"""Which pictures a cache holds: all; or those seen, or those drawn, where these have latents of their own."""


@dataclass(frozen=True)
class Index:
    """Where the pictures of each row stand in a cache: those of row r are from ends[r - 1] to ends[r]."""

    firsts: tuple[tuple[int, ...], ...]
    """Of each source, the number of the first row of each shard, counted through all sources."""
    ends: np.ndarray

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def first(self, spot: Spot) -> int:
        """Return the number of the first picture of a row."""
        row = self.firsts[spot.source][spot.shard] + spot.row
        return int(self.ends[row - 1]) if row else 0

    def spot(self, picture: int) -> tuple[Spot, int]:
        """Return where a picture is: its row, and which of the row's it is."""
        row = int(np.searchsorted(self.ends, picture, side="right"))
        flat = [(source, shard) for source, firsts in enumerate(self.firsts) for shard in range(len(firsts))]
        starts = [first for firsts in self.firsts for first in firsts]
        at = (
            int(np.searchsorted(starts, row, side="right")) - 1
        )  # the last of those that begin there: not empty
        source, shard = flat[at]
        return Spot(source, shard, row - starts[at]), picture - (int(self.ends[row - 1]) if row else 0)


def index_of(sources: Sequence[Source], role: str) -> Index:
    """Return where the pictures of sources stand; reads every sample once, decodes none."""
    counts = [
        _num_pictures(source, (shard, row), role)
        for source in sources
        for shard, rows in enumerate(source.shards)
        for row in range(rows)
    ]
    return Index(_firsts(sources), np.cumsum(np.array(counts, dtype=np.int64)))


def _num_pictures(source: Source, place: tuple[int, int], role: str) -> int:
    try:
        return sum(map(ROLES[role], source[place].images))
    except BrokenSample:
        return 0


class Kept:
    """What is known of pictures by role, from caches: latents [N C]."""

    def __init__(self, caches: dict[str, tuple[Index, LatentCache]]):
        self.caches = caches

    def __call__(self, images: Sequence[Image], key: str, spot: Spot) -> list[Tensor]:
        """Return the latents of the first pictures of a row.

        Raises:
            BrokenSample: one of them could not be opened when the cache was filled.
        """
        found, taken = [], dict.fromkeys(self.caches, 0)
        for image in images:
            role = next(role for role in self.caches if ROLES[role](image))
            index, cache = self.caches[role]
            latents = cache[[index.first(spot) + taken[role]]][0]
            taken[role] += 1
            if not torch.isfinite(latents).all():
                raise BrokenSample(
                    key, "a picture that could not be encoded when latents were kept", "picture"
                )
            found.append(latents)
        return found


def kept_pictures(data: TalkData, sources: Sequence[Source], looking: Looking, model: UniMM) -> Fetch:
    """Return the latents of all pictures of sources, encoded on first use.

    Raises:
        ValueError: the folder holds a cache of other weights or data; or a source is a stream.
    """
    settings = model.config.settings
    for source in sources:
        if not source.random_access:
            raise ValueError(f"data.latents: expected null, as {source.name} is a stream, got {data.latents}")
    seen = (settings.encoder.num_tokens, settings.encoder.width)
    drawn = (settings.num_latents, settings.dit.channels)
    made_by = model.drawn or model.encoder
    wanted: dict[str, tuple[tuple[int, int], nn.Module, Callable]] = {
        "seen": (seen, model.encoder, model.encode_image),
        "drawn": (drawn, made_by, model.encode_target),
    }
    if settings.sees_drawn:
        wanted = {"both": wanted["drawn"]}
    folder = Path(data.latents)
    return Kept(
        {role: _kept(folder / role, role, data, sources, looking, *of) for role, of in wanted.items()}
    )


def _kept(
    folder: Path,
    role: str,
    data: TalkData,
    sources: Sequence[Source],
    looking: Looking,
    shape: tuple[int, int],
    made_by: nn.Module,
    encode: Callable,
) -> tuple[Index, LatentCache]:
    index = _stored_index(folder, data, sources, role)
    if not len(index):
        raise ValueError(f"data.latents: expected pictures that are {role} in the sources, found none")
    layout = CacheLayout(
        len(index), *shape, SHARD, f"{weights_hash(made_by)}/{_data_hash(data, sources)}", data.latents_kind
    )

    @torch.no_grad()
    def encode_range(start: int, stop: int) -> Tensor:
        pictures = [_opened(sources, index, looking, number, role) for number in range(start, stop)]
        return _encoded(pictures, encode, shape)

    return index, filled(folder, layout, encode_range)


def _opened(
    sources: Sequence[Source], index: Index, looking: Looking, number: int, role: str
) -> Tensor | None:
    """Return pixels of a picture; None where it cannot be opened."""
    spot, at = index.spot(number)
    sample = sources[spot.source][spot.shard, spot.row]
    image = [image for image in sample.images if ROLES[role](image)][at]
    try:
        return looking([image], sample.key, spot)[0]
    except BrokenSample:
        return None


def _encoded(pictures: Sequence[Tensor | None], encode: Callable, shape: tuple[int, int]) -> Tensor:
    """Return latents [K N C]; those of pictures that are none are NaN."""
    latents = torch.full((len(pictures), *shape), torch.nan)
    whole = [at for at, pixels in enumerate(pictures) if pixels is not None]
    if whole:
        latents[whole] = encode(torch.stack([pictures[at] for at in whole]).float() / 255).float().cpu()
    return latents


def _data_hash(data: TalkData, sources: Sequence[Source]) -> str:
    """Return a short name for what the sources are: where, read how, and how many rows."""
    facts = [
        [given.path, given.format, given.split, list(given.images), list(source.shards), _read_how(given)]
        for given, source in zip(data.sources, sources, strict=True)
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _read_how(given: SourceSettings) -> dict[str, Any]:
    """Return the options that can change which pictures a row has: all but where indexes are kept."""
    return {name: value for name, value in given.options.items() if name != "cache"}


def _stored_index(folder: Path, data: TalkData, sources: Sequence[Source], role: str) -> Index:
    """Return the index, kept beside the cache once it is made."""
    path, name = folder / INDEX, _data_hash(data, sources)
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            if str(file["data"]) != name:
                raise ValueError(
                    f"{folder}: expected latents of these sources, got those of others; "
                    "use another folder, or remove this one"
                )
            ends = file["ends"]
        return Index(_firsts(sources), ends)
    index = index_of(sources, role)
    folder.mkdir(parents=True, exist_ok=True)
    with appearing(path) as partial, partial.open("wb") as file:
        np.savez(file, ends=index.ends, data=np.array(name))
    return index


def _firsts(sources: Sequence[Source]) -> tuple[tuple[int, ...], ...]:
    """Return the number of the first row of each shard of each source, counted through all."""
    starts = np.cumsum([0, *(rows for source in sources for rows in source.shards)])[:-1].tolist()
    left = iter(starts)
    return tuple(tuple(next(left) for _ in source.shards) for source in sources)
