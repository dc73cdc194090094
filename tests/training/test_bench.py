"""Measurements of training: they measure what they say, at sizes that take seconds."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from tests.model.small import small_tokenizer
from tools import bench_train
from unimm.data.talks import SourceSettings
from unimm.llm.qwen import LLMConfig
from unimm.training.bench.entropy import measure_entropy
from unimm.training.bench.joint import (
    batch_for,
    counted_flops,
    model_for,
    published_settings,
    settings_of,
    step_of,
)
from unimm.training.bench.latents import cache_of_noise, images_per_second
from unimm.training.bench.packs import PICTURE, llava_like_lengths, measure_packing
from unimm.training.bench.reading import (
    measure_loading,
    measure_resume,
    talks_of,
    write_conversations,
    write_shards,
)
from unimm.training.speed import SpeedPlan, sized

SMALL = settings_of(64, 1, vocab_size=128, grid=2)


def test_a_joint_steps_operations_are_those_of_its_products():
    """Six operations for each weight and position: forward, and backward to inputs and to weights."""
    model, batch = model_for(SMALL), batch_for(SMALL, 4)
    counted = counted_flops(step_of(model, batch, 2, "float32"))
    positions = batch.input_ids.numel()
    layers = sum(p.numel() for p in model.llm.model.layers.parameters() if p.ndim == 2)
    head = SMALL.llm.vocab_size * 64 * int((batch.labels[:, 1:] != -100).sum())
    assert counted > 6 * (layers * positions + head)
    assert counted < 12 * (layers * positions + head)  # the DiT, four tokens of two pictures, is the rest


def test_a_step_changes_all_but_the_codec():
    model, batch = model_for(SMALL), batch_for(SMALL, 2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    for _ in range(3):  # a DiT's outputs begin at zero, and so do gradients behind them
        step_of(model, batch, 1, "float32")()
    changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"llm", "queries", "projector", "connector", "dit"}


def test_the_published_sizes_are_those_of_the_paper():
    settings = published_settings()
    assert (settings.llm.width, settings.llm.vocab_size, settings.dit.width) == (1536, 151_667, 2048)
    assert settings.num_latents == 256


def test_chunked_entropy_takes_less_memory_than_plain():
    plain, chunked = (measure_entropy(way, 16, 40_000, 512, 1, "cpu") for way in ("plain", "chunked"))
    whole = 512 * 40_000 * 4  # float32 logits
    assert plain.peak_bytes > 2 * whole
    assert chunked.peak_bytes < 1.2 * whole + 2**25 * 4 * 2
    assert chunked.peak_bytes < plain.peak_bytes
    assert min(chunked.seconds, chunked.cpu_seconds) > 0


def test_lengths_are_like_those_of_visual_instructions():
    lengths = llava_like_lengths(4000, 2048)
    assert (lengths.min() >= 16) & (lengths.max() <= 2048)
    pictures = lengths >= PICTURE
    assert 0.9 < pictures.mean() < 1
    assert 300 < np.median(lengths) < 500


def test_packed_rows_hold_the_same_tokens_with_less_padding():
    config = LLMConfig(16, 16, 1, 2, 1, 16, context=2048)
    found = measure_packing(config, 24, 2048, 12, 1, time.process_time)
    assert found[True].padding < 0.2 < found[False].padding
    assert found[True].rows < found[False].rows == 24
    assert found[True].tokens_per_second > 0


def test_the_loader_reads_what_was_written(tmp_path):
    rows = write_conversations(tmp_path / "data", 4, size=(40, 30))
    source = SourceSettings(str(rows), "llava", options={"cache": str(tmp_path / "cache")})
    talks = talks_of(source, small_tokenizer(), 9, 1024, 12)
    ticks = iter((3.0, 5.0))
    assert measure_loading(talks, 2, 4, 2, lambda: next(ticks)) == 4, "8 samples in 2 s of the clock"
    [row] = talks.rows(3, 1)
    assert len(row.pictures) == 1
    assert row.skipped == ()


def test_a_long_stream_is_opened_at_random_positions(tmp_path):
    write_shards(tmp_path / "shards", 3, 10)
    source = SourceSettings(str(tmp_path / "shards"), "llava", options={"cache": str(tmp_path / "cache")})

    def open_talks():
        return talks_of(source, small_tokenizer(), 9, 256, 12)

    assert open_talks().sources[0].shards == (10, 10, 10)
    seconds = measure_resume(open_talks, 30, 2, 4)
    assert len(seconds) == 2
    assert max(seconds) < 10


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_a_body_learns_from_latents_on_disk(tmp_path, kind):
    config = sized("lightning", 64, 1, 1, 4, 2)
    cache = cache_of_noise(tmp_path, config, 8, kind)
    assert images_per_second("lightning", config, cache, SpeedPlan(batch=2), 2) > 0


def test_the_tool_says_what_it_measured(capsys):
    small = ["width=64", "depth=1", "batch=2", "rounds=1", "samples=8", "row_length=512", "profile=false"]
    assert bench_train.main(["packing", "gpu", *small]) == 0
    told = capsys.readouterr().out
    assert "packed over padded" in told
    assert torch.cuda.is_available() or "not run, as torch finds no CUDA" in told


def test_what_cannot_be_measured_is_refused(capsys):
    assert bench_train.main(["packin"]) == 2
    assert "did you mean 'packing'" in capsys.readouterr().err
    assert bench_train.main(["packing", "widht=3"]) == 2
    assert "did you mean 'width'" in capsys.readouterr().err
