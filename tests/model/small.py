"""The smallest complete model: random weights, every room alive, milliseconds per call."""

from __future__ import annotations

from functools import cache

import torch

from unimm.dit.config import DDTConfig, DiTConfig
from unimm.dit.sit import SiTConfig
from unimm.latents.decoder import DecoderConfig
from unimm.latents.encoder import EncoderConfig
from unimm.llm.qwen import LLMConfig
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.text.tokenizer import train_tokenizer

TEXTS = ["two red circles left of a blue star", "yes", "no", "How many stars are there?"]


def small_settings(**changes) -> ModelSettings:
    """3 x 3 tokens of 8 channels; width 16."""
    values = {
        "encoder": EncoderConfig(image_size=12, patch_size=4, width=8, depth=1, heads=2, mlp_width=16),
        "decoder": DecoderConfig(channels=8, width=8, depth=1, heads=2, mlp_width=16, patch_size=4, grid=3),
        "llm": LLMConfig(
            vocab_size=300,
            width=16,
            depth=2,
            heads=4,
            key_value_heads=2,
            mlp_width=32,
            context=160,
            init_std=0.2,
        ),
        "dit": DiTConfig(channels=8, width=16, depth=1, heads=2, condition_width=12, grid=3),
        "num_queries": 9,
    }
    return ModelSettings(**{**values, **changes})


BODIES = {
    "ddt": DDTConfig(
        channels=8, width=16, depth=1, heads=2, condition_width=12, grid=3,
        head_width=24, head_depth=1, head_heads=2, bridge="plain",
    ),
    "sit": SiTConfig(
        channels=8, width=16, depth=1, heads=2, condition_width=12, grid=3, patch_size=1, num_classes=None
    ),
}  # fmt: skip
"""The other networks that may draw; to be given as `dit` with their name as `body`."""

VAE = {
    "dit": DiTConfig(channels=12, width=16, depth=1, heads=2, condition_width=12, grid=3),
    "decoder": None,
    "drawn": {
        "kind": "flux_vae", "latent_channels": 3, "widths": [4, 8], "norm_groups": 2, "layers_per_block": 1,
        "image_size": 12,
    },
}  # fmt: skip
"""Changes that make a model draw 3 x 3 tokens of 12 channels of a VAE, and see those of its encoder."""


@cache
def small_tokenizer():
    return train_tokenizer(TEXTS * 5, 300)


def small_model(seed: int = 0, **changes) -> UniMM:
    """A model whose DiT and statistics are not at their neutral start, so that mistakes show."""
    generator = torch.random.fork_rng()
    with generator:
        torch.manual_seed(seed)
        model = UniMM(UniMMConfig(small_settings(**changes)))
        with torch.no_grad():
            for parameter in model.dit.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            shape = model.statistics.mean.shape
            model.statistics.set(torch.randn(shape), torch.rand(shape) + 0.5)
    model.tokenizer = small_tokenizer()
    return model.eval()
