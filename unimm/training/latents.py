"""Latents of a store's pictures, encoded once and kept on disk: what every stage on a frozen codec reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor, nn

from unimm.data.cache import CacheLayout, LatentCache, fill_cache
from unimm.data.world import PictureStore

SHARD = 20_000
"""Pictures in a file of a cache."""

_PASS = 64  # pictures encoded at once


def cached_latents(
    folder: str,
    store: PictureStore,
    made_by: nn.Module,
    shape: tuple[int, int],
    encode: Callable,
    kind: str = "bf16",
) -> LatentCache:
    """Return the latents of a store's pictures, encoded on first use.

    Args:
        folder: of the cache.
        store: of the pictures.
        made_by: the frozen module that encodes; the cache belongs to its weights.
        shape: N and C of what is kept of a picture.
        encode: pixels [B 3 S S] of the store's size -> [B N C].
        kind: of `cache_kinds.KINDS`: how they are written down.

    Raises:
        ValueError: the folder holds a cache of other weights, other pictures, another shape or kind.
    """
    layout = CacheLayout(store.count, *shape, SHARD, cache_key(made_by, store), kind)

    @torch.no_grad()
    def encode_range(start: int, stop: int) -> Tensor:
        return encode(store.pixels_of(range(start, stop)))

    return filled(folder, layout, encode_range)


def filled(
    folder: str | Path, layout: CacheLayout, encode_range: Callable[[int, int], Tensor]
) -> LatentCache:
    """Return a cache, filled first where it is not, beside a bar.

    Args:
        folder: of the cache.
        layout: what it is to hold.
        encode_range: `encode_range(start, stop) -> [stop-start N C]`.
    """
    with Progress() as progress:
        task = progress.add_task("encoding pictures", total=layout.num_samples)
        for done in fill_cache(folder, layout, encode_range, _PASS):
            progress.update(task, completed=done)
    return LatentCache(folder, layout.key)


def cache_key(made_by: nn.Module, store: PictureStore) -> str:
    """Return what a cache was made of: weights, seed, and scenes where they are not of every sort."""
    parts = [weights_hash(made_by), str(store.seed)]
    if store.scenes != "any":  # caches made before there was a choice say nothing
        parts.append(store.scenes)
    return "/".join(parts)


def weights_hash(module: nn.Module) -> str:
    """Return a short hash of a module's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
