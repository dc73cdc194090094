"""Latents of a store's pictures, encoded once and kept on disk: what every stage on a frozen codec reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from rich.progress import Progress
from torch import Tensor, nn

from unimm.data.cache import CacheLayout, LatentCache, fill_cache
from unimm.data.world import PictureStore

_SHARD = 20_000
_PASS = 64  # pictures encoded at once


def cached_latents(
    folder: str, store: PictureStore, made_by: nn.Module, shape: tuple[int, int], encode: Callable
) -> LatentCache:
    """Return the latents of a store's pictures, encoded on first use.

    Args:
        folder: of the cache.
        store: of the pictures.
        made_by: the frozen module that encodes; the cache belongs to its weights.
        shape: N and C of what is kept of a picture.
        encode: pixels [B 3 S S] of the store's size -> [B N C].

    Raises:
        ValueError: the folder holds a cache of other weights, other pictures or another shape.
    """
    layout = CacheLayout(store.count, *shape, _SHARD, cache_key(made_by, store))

    @torch.no_grad()
    def encode_range(start: int, stop: int) -> Tensor:
        return encode(store.pixels_of(range(start, stop)))

    with Progress() as progress:
        task = progress.add_task("encoding pictures", total=store.count)
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
