"""A whole joint step against the matrix products that the same machine does in the same minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from unimm.dit.config import DiTConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.attention import train_short_rows
from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.parts import IGNORED, Batch, Run
from unimm.training.plain import autocast
from unimm.training.speed import DTYPES, Speed, SpeedPlan, Task, compared, matmul_task
from unimm.training.verification import SYSTEMS

TEXT = 64
"""Positions of words beside a picture's."""


def settings_of(width: int, depth: int, vocab_size: int = 32_768, grid: int = 16) -> ModelSettings:
    """Return a model whose LLM and DiT are alike in width and depth; the MLP is as wide as Qwen2.5-1.5B's."""
    heads, side = max(1, width // 64), 16
    codec = {"channels": width, "width": 64, "depth": 1, "heads": 1, "mlp_width": 64}
    return ModelSettings(
        encoder=EncoderConfig(
            image_size=grid * side, patch_size=side, width=width, depth=1, heads=heads, mlp_width=64
        ),
        decoder=DecoderConfig(**codec, patch_size=side, grid=grid),
        llm=LLMConfig(vocab_size, width, depth, heads, max(1, heads // 6), width * 35 // 6, context=4096),
        dit=DiTConfig(
            channels=width, width=width, depth=depth, heads=heads, condition_width=width, grid=grid
        ),
        num_queries=grid**2,
    )


def published_settings() -> ModelSettings:
    """Return Scale-RAE's 1.5B + 2.4B; of its codec only the shape of what it makes."""
    codec = settings_of(1152, 1)
    system = SYSTEMS["Scale-RAE 1.5B + 2.4B"]
    return replace(codec, llm=system.llm, dit=system.body[1], num_queries=256)


def batch_for(settings: ModelSettings, rows: int, device: str = "cpu") -> Batch:
    """Return random rows of TEXT words and a picture: drawn in one half of them, seen in the other."""
    generator = torch.Generator().manual_seed(0)
    slots = settings.num_queries
    shape = (rows, TEXT + slots)
    ids = torch.randint(0, settings.llm.vocab_size, shape, generator=generator)
    labels = torch.full(shape, IGNORED)
    labels[:, -TEXT // 2 :] = ids[:, -TEXT // 2 :]
    runs = [Run(row, TEXT // 2, slots) for row in range(rows)]
    seen, drawn = runs[: rows // 2], runs[rows // 2 :]
    context = torch.randn(len(seen), slots, settings.encoder.width, generator=generator)
    target = torch.randn(len(drawn), settings.num_latents, settings.dit.channels, generator=generator)
    mask = torch.ones(shape, dtype=torch.bool)
    return Batch(ids, labels, mask, tuple(seen), context if seen else None, tuple(drawn), target).to(device)


def model_for(settings: ModelSettings, device: str = "cpu") -> UniMM:
    """Return a fresh model in which all learns but the codec."""
    torch.manual_seed(0)
    with torch.device(device):
        model = UniMM(UniMMConfig(settings))
    train_short_rows(model.llm)
    for room in (model.encoder, model.decoder):
        room.requires_grad_(False)
    return model.train()


def step_of(model: UniMM, batch: Batch, noise_draws: int, precision: str) -> Callable[[], None]:
    """Return a whole update: losses, gradients, clipping and AdamW."""
    members = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(members, 1e-5, fused=True)
    device = batch.input_ids.device

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            losses = model.training_losses(
                batch, noise_draws=noise_draws, generator=torch.Generator(device).manual_seed(0)
            )
        (losses.ce + 2 * losses.flow).backward()
        torch.nn.utils.clip_grad_norm_(members, 1.0)
        optimizer.step()

    return step


def counted_flops(step: Callable[[], None]) -> int:
    """Return the floating-point operations of a step: two for each multiply-accumulate of its products.

    What torch's counter does not know is left out: of the CPU, fused attention.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure_joint(
    settings: ModelSettings, plan: SpeedPlan, noise_draws: int, again: bool = False
) -> tuple[list[Speed], Callable[[], None]]:
    """Return the speeds of the yardstick and of a step of `plan.batch` rows, and the step itself.

    Args:
        settings: of the model.
        plan: batch, dtype, device, clock and rounds.
        noise_draws: of each picture that is drawn.
        again: compute blocks again for gradients: less memory. What is computed again does not count.
    """
    model, batch = model_for(settings, plan.device), batch_for(settings, plan.batch, plan.device)
    flops = counted_flops(step_of(model, batch, noise_draws, plan.dtype))
    model.dit.gradient_checkpointing = again
    if again:
        model.llm.gradient_checkpointing_enable({"use_reentrant": False})
    step = step_of(model, batch, noise_draws, plan.dtype)
    dtype, rows = DTYPES[plan.dtype], plan.batch * (TEXT + settings.num_queries)
    shape = (rows, settings.llm.width, settings.llm.mlp_width)
    yardstick = matmul_task(*shape, dtype, torch.device(plan.device))
    work = Task("joint step with AdamW", step, flops, plan.batch)
    return compared(yardstick, work, plan=plan), step


def profiled(step: Callable[[], None], lines: int = 15) -> str:
    """Return where the time of a run goes, as torch's table."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with profile(activities=activities) as found:
        step()
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return found.key_averages().table(sort_by=by, row_limit=lines, max_name_column_width=44)
