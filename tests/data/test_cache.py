"""unimm.data.cache: what was encoded is read back, whole or not at all."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from unimm.data.cache import CacheLayout, LatentCache, fill_cache

LAYOUT = CacheLayout(num_samples=10, num_tokens=2, channels=3, shard_size=4, key="encoder-1")
LATENTS = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(0)).bfloat16().float()


class Encoder:
    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, start, stop):
        if self.fail_at is not None and start >= self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((start, stop))
        return LATENTS[start:stop]


def test_latents_are_read_back_by_index(tmp_path):
    encoder = Encoder()
    assert list(fill_cache(tmp_path, LAYOUT, encoder, batch_size=3)) == [4, 8, 10]
    assert encoder.calls == [(0, 3), (3, 4), (4, 7), (7, 8), (8, 10)]
    cache = LatentCache(tmp_path, key="encoder-1")
    assert len(cache) == 10
    order = [9, 0, 3, 3, 7]
    assert torch.equal(cache[order], LATENTS[order])
    assert torch.equal(cache[np.array(order)], LATENTS[order])
    assert torch.equal(cache[2:9], LATENTS[2:9])
    assert cache[[]].shape == (0, 2, 3)
    with pytest.raises(IndexError, match="expected 0 to 9, got 0 to 10"):
        cache[[0, 10]]


def test_an_interrupted_fill_goes_on_with_the_missing_shards(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(fill_cache(tmp_path, LAYOUT, Encoder(fail_at=6), batch_size=2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latents.json", "shard-00000.bf16"]
    with pytest.raises(FileNotFoundError, match="shard 2 of 3 is missing"):
        LatentCache(tmp_path)
    encoder = Encoder()
    list(fill_cache(tmp_path, LAYOUT, encoder))
    assert encoder.calls == [(4, 8), (8, 10)]
    assert torch.equal(LatentCache(tmp_path)[:], LATENTS)


def test_latents_of_another_encoder_are_refused(tmp_path):
    list(fill_cache(tmp_path, LAYOUT, Encoder()))
    other = CacheLayout(10, 2, 3, 4, key="encoder-2")
    with pytest.raises(ValueError, match="expected a cache with key='encoder-2', found 'encoder-1'"):
        list(fill_cache(tmp_path, other, Encoder()))
    with pytest.raises(ValueError, match="expected latents of 'encoder-2', got those of 'encoder-1'"):
        LatentCache(tmp_path, key="encoder-2")


def test_a_cut_shard_and_a_wrong_shape_are_refused(tmp_path):
    list(fill_cache(tmp_path / "a", LAYOUT, Encoder()))
    shard = tmp_path / "a" / "shard-00001.bf16"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(ValueError, match="expected 48 bytes"):
        LatentCache(tmp_path / "a")
    with pytest.raises(ValueError, match=r"expected shape \(4, 2, 3\), got \(4, 3, 2\)"):
        list(fill_cache(tmp_path / "b", LAYOUT, lambda a, b: LATENTS[a:b].mT))
    with pytest.raises(FileNotFoundError, match="expected a latent cache"):
        LatentCache(tmp_path / "c")


@contextmanager
def files_no_larger_than(num_bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_leaves_nothing_half_written(tmp_path):
    layout = CacheLayout(1000, 2, 3, 500, key="encoder-1")
    encode = lambda start, stop: torch.zeros(stop - start, 2, 3)  # noqa: E731
    with files_no_larger_than(4096), pytest.raises(OSError, match="make room and run again"):
        list(fill_cache(tmp_path, layout, encode))
    assert [p.name for p in tmp_path.iterdir()] == ["latents.json"]


def test_int8_keeps_each_token_to_half_a_level_and_says_what_it_cost(tmp_path):
    latents = torch.randn(10, 2, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [[1.0], [40.0]]
    )
    latents[3, 1] = 0
    layout = CacheLayout(10, 2, 3, 4, key="encoder-1", kind="int8")
    assert list(fill_cache(tmp_path, layout, lambda a, b: latents[a:b], batch_size=3)) == [4, 8, 10]
    cache = LatentCache(tmp_path, key="encoder-1")
    level = latents.abs().amax(-1, keepdim=True) / 127
    assert ((cache[:] - latents).abs() <= level / 2 * 1.0001).all()
    error = (cache[:] - latents).double()
    expected = (error.square().mean() / latents.double().square().mean()).sqrt()
    assert cache.loss.relative == pytest.approx(float(expected), rel=1e-5)
    assert cache.loss.largest_error == pytest.approx(float(error.abs().max()), rel=1e-5)
    assert (tmp_path / "shard-00000.int8").stat().st_size == 4 * (2 * 3 + 2 * 4)
    with pytest.raises(ValueError, match="expected a cache with kind='bf16', found 'int8'"):
        list(fill_cache(tmp_path, LAYOUT, Encoder()))


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_the_mark_of_a_picture_that_is_none_is_kept(tmp_path, kind):
    latents = LATENTS.clone()
    latents[4] = torch.nan
    list(fill_cache(tmp_path, CacheLayout(10, 2, 3, 4, "e", kind), lambda a, b: latents[a:b]))
    found = LatentCache(tmp_path)[:]
    assert found[4].isnan().all()
    assert found[[*range(4), *range(5, 10)]].isfinite().all()


def test_an_unknown_kind_is_refused_and_old_descriptions_mean_bf16(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        CacheLayout(10, 2, 3, 4, "e", "int4")
    list(fill_cache(tmp_path, LAYOUT, Encoder()))
    path = tmp_path / "latents.json"
    facts = json.loads(path.read_text())
    del facts["kind"]
    path.write_text(json.dumps(facts))
    assert torch.equal(LatentCache(tmp_path)[:], LATENTS)
