"""The smallest complete model: random weights, every room alive, milliseconds per call."""

from __future__ import annotations

from functools import cache

import torch

from unimm.dit.lightning import DiTConfig
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
            model.statistics.set(torch.randn(9, 8), torch.rand(9, 8) + 0.5)
    model.tokenizer = small_tokenizer()
    return model.eval()
