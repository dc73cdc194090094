"""Latents kept on disk once the encoder no longer changes: bf16 or int8 shards, read by index through mmap.

    folder/
        latents.json        num_samples, num_tokens, channels, shard_size, key, kind
        shard-00000.bf16    raw little-endian [shard_size N C]; the last may hold fewer
        shard-00000.int8    or, for each sample, a scale for each token (float32 [N]) and int8 [N C]
        shard-00000.json    of int8: what rounding has cost

A shard has its name only when it is whole, so an interrupted run goes on with the first one that is missing.
`key` says what made the latents (encoder, data, seed); a folder made by something else is refused, never
mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from torch import Tensor

from unimm.data.cache_kinds import KINDS, Kind, Loss
from unimm.tables import expect_known
from unimm.whole import appearing

META = "latents.json"


@dataclass(frozen=True)
class CacheLayout:
    """What a cache holds."""

    num_samples: int
    num_tokens: int  # N
    channels: int  # C
    shard_size: int  # samples per shard
    key: str  # what made them, e.g. a hash of the encoder's weights and the data's name
    kind: str = "bf16"  # of KINDS: how they are written down

    def __post_init__(self):
        expect_known("kind", self.kind, KINDS)
        for name in ("num_samples", "num_tokens", "channels", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")

    @property
    def written(self) -> Kind:
        """How they are written down."""
        return KINDS[self.kind]

    @property
    def record(self) -> np.dtype:
        """What is written of a sample."""
        return self.written.record(self.num_tokens, self.channels)

    @property
    def num_shards(self) -> int:
        return -(-self.num_samples // self.shard_size)

    def shard_range(self, shard: int) -> tuple[int, int]:
        """First and one past the last sample of a shard."""
        return shard * self.shard_size, min(self.num_samples, (shard + 1) * self.shard_size)


def fill_cache(
    folder: str | Path, layout: CacheLayout, encode: Callable[[int, int], Tensor], batch_size: int = 256
) -> Iterator[int]:
    """Write the shards that are missing; yield the number of samples on disk after each.

    Args:
        encode: `encode(start, stop) -> [stop-start N C]`, a pure function of its range.

    Raises:
        ValueError: the folder holds a cache of another layout or key, or `encode` returns another shape.
        OSError: the disk is full; whole shards stay, the unfinished one is removed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, layout)
    for shard in range(layout.num_shards):
        path = _shard_path(folder, shard, layout.kind)
        if not path.exists():
            _write_shard(path, layout, shard, encode, batch_size)
        yield layout.shard_range(shard)[1]


class LatentCache:
    """A finished cache. `cache[indices]` gives float32 latents."""

    def __init__(self, folder: str | Path, key: str | None = None):
        """Open it.

        Args:
            key: refuse a cache made by something else; None takes any.

        Raises:
            FileNotFoundError: no cache, or a shard is missing.
            ValueError: another key, a damaged description, or a shard of the wrong size.
        """
        self._folder = folder = Path(folder)
        self.layout = read_layout(folder)
        if key is not None and key != self.layout.key:
            raise ValueError(
                f"{folder}: expected latents of {key!r}, got those of {self.layout.key!r}; fill it anew"
            )
        self._shards = [self._open(folder, shard) for shard in range(self.layout.num_shards)]

    def _open(self, folder: Path, shard: int) -> np.memmap:
        layout = self.layout
        path = _shard_path(folder, shard, layout.kind)
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: shard {shard + 1} of {layout.num_shards} is missing; fill the cache again"
            )
        start, stop = layout.shard_range(shard)
        expected, found = (stop - start) * layout.record.itemsize, path.stat().st_size
        if found != expected:
            shape = (stop - start, layout.num_tokens, layout.channels)
            raise ValueError(f"{path}: expected {expected} bytes for {shape}, got {found}")
        return np.memmap(path, dtype=layout.record, mode="r", shape=(stop - start,))

    @property
    def loss(self) -> Loss | None:
        """What writing them down has cost; None where it is not measured."""
        if not self.layout.written.measured:
            return None
        return reduce(Loss.plus, (_read_loss(self._folder, shard) for shard in range(self.layout.num_shards)))

    def __len__(self) -> int:
        return self.layout.num_samples

    def __getitem__(self, indices: np.ndarray | Tensor | list[int] | slice) -> Tensor:
        """Latents of these samples, float32 [B N C].

        Raises:
            IndexError: an index is outside 0 ... len - 1.
        """
        if isinstance(indices, slice):
            indices = range(*indices.indices(len(self)))
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(
                f"indices: expected 0 to {len(self) - 1}, got {indices.min()} to {indices.max()}"
            )
        records = np.empty(len(indices), self.layout.record)
        shards, places = np.divmod(indices, self.layout.shard_size)
        for shard in np.unique(shards):
            chosen = shards == shard
            records[chosen] = self._shards[shard][places[chosen]]
        return self.layout.written.unpack(records)


def read_layout(folder: Path) -> CacheLayout:
    """The description of a cache.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a description.
    """
    path = folder / META
    if not path.exists():
        raise FileNotFoundError(f"{folder}: expected a latent cache with {META}, found none")
    try:
        return CacheLayout(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path}: expected {', '.join(CacheLayout.__dataclass_fields__)}: {error}") from None


def _claim(folder: Path, layout: CacheLayout) -> None:
    """Describe a new folder, or check that an old one is the same cache."""
    if not (folder / META).exists():
        _write_whole(folder / META, lambda file: file.write(json.dumps(asdict(layout), indent=1).encode()))
        return
    found = read_layout(folder)
    for name, value in asdict(layout).items():
        if getattr(found, name) != value:
            raise ValueError(
                f"{folder}: expected a cache with {name}={value!r}, found {getattr(found, name)!r}; "
                "use another folder, or remove this one"
            )


def _write_shard(path: Path, layout: CacheLayout, shard: int, encode, batch_size: int) -> None:
    first, last = layout.shard_range(shard)
    kind, loss = layout.written, Loss()

    def write(file) -> None:
        for start in range(first, last, batch_size):
            stop = min(last, start + batch_size)
            latents = encode(start, stop)
            expected = (stop - start, layout.num_tokens, layout.channels)
            if tuple(latents.shape) != expected:
                raise ValueError(f"latents: expected shape {expected}, got {tuple(latents.shape)}")
            latents = latents.detach().cpu()
            records = kind.pack(latents, layout.record)
            if kind.measured:
                loss.add(latents, kind.unpack(records))
            file.write(records.tobytes())
        if kind.measured:  # first: a shard that is there has its facts
            facts = json.dumps(asdict(loss)).encode()
            _write_whole(path.with_suffix(".json"), lambda file: file.write(facts))

    _write_whole(path, write)


def _read_loss(folder: Path, shard: int) -> Loss:
    path = folder / f"shard-{shard:05d}.json"
    try:
        return Loss(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: expected what rounding has cost, could not read it ({error}); fill the cache anew"
        ) from None


def _write_whole(path: Path, write: Callable) -> None:
    """The file under its name, whole, or not at all."""
    try:
        with appearing(path) as partial, partial.open("wb") as file:  # ranks may fill one folder together
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            f"{path}: could not be written ({error}); whole shards are kept; make room and run again"
        ) from error


def _shard_path(folder: Path, shard: int, kind: str) -> Path:
    return folder / f"shard-{shard:05d}.{kind}"
