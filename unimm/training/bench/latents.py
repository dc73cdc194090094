"""A generator's whole step from latents on disk: what a frozen encoder leaves to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from unimm.data.cache import CacheLayout, LatentCache, fill_cache
from unimm.data.order import shuffled
from unimm.dit.bodies import BODIES
from unimm.flow.loss import velocity_loss
from unimm.training.plain import autocast
from unimm.training.prefetch import prefetch
from unimm.training.speed import SpeedPlan, settler


def cache_of_noise(folder: Path, config: Any, samples: int, kind: str) -> LatentCache:
    """Return a cache of noise in the shape of a body's latents."""
    layout = CacheLayout(samples, config.grid**2, config.channels, 4096, "noise", kind)
    for _ in fill_cache(folder, layout, lambda start, stop: torch.randn(stop - start, *_shape(layout))):
        pass
    return LatentCache(folder)


def _shape(layout: CacheLayout) -> tuple[int, int]:
    return layout.num_tokens, layout.channels


def images_per_second(kind: str, config: Any, cache: LatentCache, plan: SpeedPlan, steps: int) -> float:
    """Return how many latents a second a body learns from: read, moved, flow loss, gradients and AdamW.

    Args:
        kind: of `BODIES`.
        config: of the body, by class.
        cache: of the latents.
        plan: batch, dtype, device and whether to compile.
        steps: after three that do not count.
    """

    device = torch.device(plan.device)
    body = BODIES[kind][1](config).to(device).train()
    run = torch.compile(body) if plan.compile else body
    optimizer = torch.optim.AdamW(body.parameters(), 1e-5, fused=True)
    generator = torch.Generator(device).manual_seed(0)

    def batch(number: int) -> torch.Tensor:
        indices = shuffled(len(cache), 0, number * plan.batch, plan.batch)
        found = cache[indices]
        return found.pin_memory() if device.type == "cuda" else found

    settle, start = settler(plan.device), 0.0
    for number, latents in enumerate(prefetch(batch, range(steps + 3), 4, 4)):
        if number == 3:
            settle()
            start = time.perf_counter()
        x = latents.to(device, non_blocking=True)
        labels = torch.randint(0, config.num_classes, (len(x),), generator=generator, device=device)
        noise, t = (torch.randn(x.shape, device=device), torch.rand(len(x), device=device))
        optimizer.zero_grad(set_to_none=True)
        with autocast(plan.dtype, device):
            loss = velocity_loss(lambda x_t, t, labels=labels: run(x_t, t, labels), x, noise, t).mean()
        loss.backward()
        optimizer.step()
    settle()
    return steps * plan.batch / (time.perf_counter() - start)
