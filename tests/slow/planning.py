"""The run whose memory is both planned and measured."""

from __future__ import annotations

import torch

from unimm.dit.config import DiTConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.model.config import ModelSettings
from unimm.parts import Batch, Run
from unimm.training.joint import talk_groups
from unimm.training.plan.workload import Rows
from unimm.training.recipe import OptimRecipe, TrainRecipe

RECIPE = TrainRecipe(output="x", num_steps=1, batch_size=4, optim=OptimRecipe(lr=1e-4), precision="float32")
ROWS = Rows(tokens=192, drawn=1.0, noise_draws=1)


def GROUPS(model):  # noqa: N802 (a constant of the run)
    return talk_groups(model, "adamw")


def settings() -> ModelSettings:
    """Return sizes of about 100 million parameters."""
    return ModelSettings(
        encoder=EncoderConfig(64, 8, 64, 1, 2, 64),
        decoder=DecoderConfig(64, 64, 1, 2, 64, 8, 8),
        llm=LLMConfig(20_000, 512, 8, 8, 2, 2048),
        dit=DiTConfig(channels=64, width=512, depth=8, heads=8, condition_width=512, grid=8),
        num_queries=64,
    )


def batch() -> Batch:
    """Return rows that are full of text and draw a picture each."""
    rows, length = RECIPE.batch_size, ROWS.tokens
    ids = torch.randint(20_000, (rows, length), generator=torch.Generator().manual_seed(0))
    runs = tuple(Run(row, length - 80, 64) for row in range(rows))
    latents = torch.randn(rows, 64, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(rows, length, dtype=torch.bool)
    return Batch(ids, ids.clone(), mask, query_runs=runs, target_latents=latents)
