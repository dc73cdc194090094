"""The runs whose memory is both planned and measured."""

from __future__ import annotations

from typing import Any

import torch

from unimm.data.world import Pictures
from unimm.dit.config import DiTConfig
from unimm.latents.autoencoder import RAEConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.model.config import ModelSettings
from unimm.parts import Batch, Run
from unimm.training.adversary.critic import AdversaryRecipe
from unimm.training.adversary.discriminator import DiscriminatorConfig
from unimm.training.decoder import DecoderRecipe, DecoderStage, decoder_groups
from unimm.training.joint import talk_groups
from unimm.training.picture_losses import PerceptualRecipe, PictureLosses
from unimm.training.plan.pictures import showing
from unimm.training.plan.workload import Rows, Workload, talking
from unimm.training.recipe import OptimRecipe, TrainRecipe
from unimm.training.vae import VAERecipe, VAESizes, VAEStage, vae_workload

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


def talk_workload() -> Workload:
    """Return that of the model, its rows and who learns."""
    return talking(settings(), ROWS, GROUPS)


def _losses(backbone: str) -> PictureLosses:
    """Return all terms, the adversary's from the first update on."""
    sizes = DiscriminatorConfig(image_size=64, patch_size=8, width=384, depth=4, heads=6, key_depths=(1, 2))
    optim = OptimRecipe(lr=1e-4)
    judge = AdversaryRecipe(optim, 0, 0, weights="none", sha256="00000000", sizes=sizes)
    return PictureLosses(PerceptualRecipe(gram=1.0, backbone=backbone), judge)


def decoder_run() -> tuple[type, DecoderRecipe, Workload]:
    """Return a decoder's stage, recipe and workload: about 40 million parameters on an encoder's 7."""
    sizes = RAEConfig(
        EncoderConfig(64, 8, 384, 4, 6, 1536), DecoderConfig(384, 640, 8, 10, 2560, patch_size=8, grid=8)
    )
    recipe = DecoderRecipe(
        RECIPE, Pictures("x", pixels=64), encoder_run="x", encoder=sizes.encoder, decoder=sizes.decoder,
        losses=_losses("encoder"), matrices="adamw",
    )  # fmt: skip
    return DecoderStage, recipe, showing(recipe, sizes, lambda modules: decoder_groups(recipe, modules))


def vae_run() -> tuple[type, VAERecipe, Workload]:
    """Return a VAE's stage, recipe and workload: about 20 million parameters."""
    sizes = VAESizes(16, (64, 128, 256, 256), 64, packing=2, layers_per_block=1)
    recipe = VAERecipe(RECIPE, sizes, Pictures("x", pixels=64), losses=_losses("tiny"))
    return VAEStage, recipe, vae_workload(recipe)


PICTURES: dict[str, Any] = {"decoder": decoder_run, "vae": vae_run}
"""Runs of stages of pictures, by name."""
