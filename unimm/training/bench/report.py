"""The measurements by name, each as lines of text with the profile behind them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unimm.data.packing import MULTIPLE
from unimm.data.talks import SourceSettings, Talks
from unimm.dit.presets import preset
from unimm.llm.qwen import LLMConfig
from unimm.model.loading import find_folder
from unimm.text.tokenizer import load_tokenizer
from unimm.training.bench.entropy import Cost, measure_entropy
from unimm.training.bench.joint import TEXT, measure_joint, profiled, published_settings, settings_of
from unimm.training.bench.latents import cache_of_noise, images_per_second
from unimm.training.bench.packs import measure_packing
from unimm.training.bench.reading import (
    measure_loading,
    measure_resume,
    talks_of,
    write_conversations,
    write_shards,
)
from unimm.training.meter import peak_tflops
from unimm.training.speed import CLOCKS, SpeedPlan

SHARD_ROWS = 10_000
OFFICIAL_IMAGES = 166
"""A second and GPU, of LightningDiT-XL/1 from cached latents, bf16, compiled, in its official log."""


@dataclass(frozen=True)
class Options:
    """What is measured and how large."""

    device: str = "cpu"
    clock: str = "cpu"
    dtype: str = "float32"
    rounds: int = 3
    width: int = 768
    depth: int = 4
    batch: int = 4
    noise_draws: int = 2
    tokens: int = 4096
    vocab_size: int = 151_667
    entropy_width: int = 1536
    samples: int = 32
    window: int = 32
    row_length: int = 2048
    pictures: int = 64
    workers: int = 2
    shards: int = 1000
    profile: bool = True
    folder: str | None = None  # where the long stream's shards and indexes stay; null forgets them

    @property
    def plan(self) -> SpeedPlan:
        """How a step is timed."""
        return SpeedPlan(
            batch=self.batch,
            repeats=self.rounds,
            dtype=self.dtype,
            device=self.device,
            clock=self.clock,
            steps=0,
        )


def joint(options: Options) -> Iterator[str]:
    """A joint step of an LLM and a DiT of the same width, and how much faster rows of data are read."""
    settings = settings_of(options.width, options.depth)
    (yardstick, speed), step = measure_joint(settings, options.plan, options.noise_draws)
    rows = f"{options.batch} rows of {TEXT + settings.num_queries} positions"
    yield f"width {options.width}, depth {options.depth}, {rows}, {options.noise_draws} noise draws: "
    yield f"  {speed.seconds:.2f} s, {speed.flops_per_second / 1e9:.0f} GFLOP/s, {speed.share:.0%} of "
    yield f"  {yardstick.name} ({speed.lowest_share:.0%} to {speed.highest_share:.0%} over the rounds)"
    loaded = _loading(options)
    step_rate = speed.pictures_per_second
    yield f"loader: {loaded:.1f} samples/s with {options.workers} threads,"
    yield f"  {loaded / step_rate:.0f} times the step's {step_rate:.2f}"
    if options.profile:
        yield profiled(step)


def _loading(options: Options) -> float:
    with tempfile.TemporaryDirectory() as folder:
        rows = write_conversations(Path(folder) / "data", options.pictures)
        source = SourceSettings(
            str(rows), "llava", images=(str(rows.parent),), options={"cache": f"{folder}/cache"}
        )
        talks = talks_of(source, load_tokenizer(find_folder("tiny")), 256, options.row_length, 256)
        return measure_loading(talks, 8, 16, options.workers, CLOCKS[options.clock])  # as the step is timed


def entropy(options: Options) -> Iterator[str]:
    """Cross entropy: chunked (or Liger's kernel) beside plain."""
    ways = ("plain", "chunked") + (("fused",) if options.device.startswith("cuda") else ())
    sizes = (options.entropy_width, options.vocab_size, options.tokens)
    costs = {way: measure_entropy(way, *sizes, options.rounds, options.device) for way in ways}
    yield f"{options.tokens} tokens, D = {sizes[0]}, V = {sizes[1]}, forward and backward"
    yield from (f"  {way}: {_cost(cost)}" for way, cost in costs.items())
    for way in ways[1:]:
        memory = costs["plain"].peak_bytes / costs[way].peak_bytes
        slower = _seconds(costs[way], options) / _seconds(costs["plain"], options)
        yield f"  {way}: {memory:.1f} times less memory, {slower:.2f} of the time"


def _seconds(cost: Cost, options: Options) -> float:
    return cost.cpu_seconds if options.clock == "cpu" else cost.seconds


def _cost(cost: Cost) -> str:
    memory = f"{cost.peak_bytes / 1e6:,.0f} MB beyond states, weight and labels"
    return f"{memory}; {cost.seconds:.2f} s, {cost.cpu_seconds:.2f} of CPU"


def packing(options: Options) -> Iterator[str]:
    """Useful tokens a second of an LLM on rows that are padded, and that are packed."""
    config = LLMConfig(1024, options.width // 2, options.depth, 4, 2, options.width * 2, context=4096)
    found = measure_packing(
        config,
        options.samples,
        options.row_length,
        options.window,
        options.rounds,
        CLOCKS[options.clock],
    )
    yield f"{options.samples} samples of LLaVA-like lengths in batches of {options.window}, rows of at most "
    sizes = f"width {config.width}, depth {config.depth}"
    yield f"  {options.row_length}, multiples of {MULTIPLE}; LLM of {sizes}"
    for is_packed, rate in found.items():
        name = "packed" if is_packed else "padded"
        yield f"  {name}: {rate.rows} rows, {rate.padding:.0%} padding, {rate.tokens_per_second:.0f} tokens/s"
    yield f"  packed over padded: {found[True].tokens_per_second / found[False].tokens_per_second:.2f}"


def resume(options: Options) -> Iterator[str]:
    """Going on at random positions of a stream of many indexed shards."""
    if options.folder is not None:
        yield from _resumed(options, Path(options.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _resumed(options, Path(folder))


def _resumed(options: Options, folder: Path) -> Iterator[str]:
    data = folder / "shards"
    if not data.exists():
        write_shards(data, options.shards, SHARD_ROWS)
    tokenizer = load_tokenizer(find_folder("tiny"))
    source = SourceSettings(str(data), "llava", options={"cache": str(folder / "indexes")})

    def open_talks() -> Talks:
        return talks_of(source, tokenizer, 256, options.row_length, 256)

    clock = CLOCKS["wall"]
    start = clock()
    num_samples = sum(open_talks().sources[0].shards)
    yield f"{num_samples:,} samples in {options.shards} shards; first opened in {clock() - start:.1f} s"
    seconds = measure_resume(open_talks, num_samples, 10, 64)
    yield f"  opened anew with 64 samples at ten random positions: {min(seconds):.2f} to {max(seconds):.2f} s"


def gpu(options: Options) -> Iterator[str]:
    """What only a GPU can tell: published sizes in bf16."""
    if not torch.cuda.is_available():
        yield "1.5B + 2.4B joint step, LightningDiT-XL from latents on disk: not run, as torch finds no CUDA"
        return
    plan = replace(options.plan, device="cuda", clock="wall", dtype="bf16")
    (_, speed), step = measure_joint(published_settings(), plan, options.noise_draws, again=True)
    peak = peak_tflops(torch.device("cuda"), "bf16")
    used = f"{speed.flops_per_second / peak / 1e12:.0%} of the peak" if peak else "a device of unknown peak"
    yield f"1.5B + 2.4B: {speed.seconds:.2f} s for {plan.batch} rows, {used}, {speed.share:.0%} of matmul"
    if options.profile:
        yield profiled(step)
    del step
    kind, config = preset("LightningDiT-XL")
    yield from (_from_cache(kind, config, each, plan) for each in ("bf16", "int8"))


def _from_cache(kind: str, config: Any, written: str, plan: SpeedPlan) -> str:
    with tempfile.TemporaryDirectory() as folder:
        cache = cache_of_noise(Path(folder), config, 16_384, written)
        found = images_per_second(kind, config, cache, replace(plan, batch=128, compile=True), 30)
    told = f"{found:.0f} images/s, {found / OFFICIAL_IMAGES:.1f} times the official log's"
    return f"LightningDiT-XL from {written} latents: {told}"


REPORTS: dict[str, Callable[[Options], Iterator[str]]] = {
    "joint": joint,
    "entropy": entropy,
    "packing": packing,
    "resume": resume,
    "gpu": gpu,
}
"""What can be measured."""
