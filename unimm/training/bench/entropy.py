"""Cross entropy over a large vocabulary: what the chunked one takes beside the plain one, time and memory."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unimm.llm.head import chunked_cross_entropy, fused_cross_entropy, plain_cross_entropy

WAYS = {"plain": plain_cross_entropy, "chunked": chunked_cross_entropy, "fused": fused_cross_entropy}


@dataclass(frozen=True)
class Cost:
    """What a loss with its gradients costs."""

    seconds: float
    """Of the clock; the least of the rounds."""
    cpu_seconds: float
    """Of all threads; the least of the rounds."""
    peak_bytes: int
    """Beyond states, weight and labels; the gradients are in it."""


def measure_entropy(way: str, width: int, vocab_size: int, tokens: int, rounds: int, device: str) -> Cost:
    """Return the cost of one way; on a CPU it runs in a new process, where no memory is used again."""
    given = (way, width, vocab_size, tokens, rounds, device)
    if device.startswith("cuda"):
        return _cost(*given)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_cost, (*given, torch.get_num_threads()))


def _cost(
    way: str, width: int, vocab_size: int, tokens: int, rounds: int, device: str, threads: int | None = None
) -> Cost:
    if threads is not None:
        torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, width, generator=generator).to(device).requires_grad_()
    weight = (0.02 * torch.randn(vocab_size, width, generator=generator)).to(device).requires_grad_()
    labels = torch.randint(0, vocab_size, (tokens,), generator=generator).to(device)

    def run() -> None:
        WAYS[way](states, weight, labels).backward()
        states.grad = weight.grad = None

    before, read_peak = _memory(device)
    run()
    peak = read_peak() - before
    wall, cpu = [], []
    for _ in range(rounds):
        start, started = time.perf_counter(), time.process_time()
        run()
        _settle(device)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - started)
    return Cost(min(wall), min(cpu), peak)


def _settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _memory(device: str) -> tuple[int, Callable[[], int]]:
    """Return the bytes in use, and what reads the most that were."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated
    return _status("VmRSS"), lambda: _status("VmHWM")


def _status(name: str) -> int:
    """Return a number of this process's /proc status, in bytes (Linux)."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(found[name].split()[0]) * 1024
