"""Generators that draw in milliseconds: 9 tokens of 8 channels, pictures of 24 pixels."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn

from tests.text.small_sd3 import clip_words, small_config, t5_words
from unimm.config import build
from unimm.generator import ClassGenerator, Generator, GeneratorSettings, TextGenerator

ENCODER = {"image_size": 12, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16}
DECODER = {
    "channels": 8, "width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "patch_size": 8, "grid": 3,
}  # fmt: skip
RAE = {"kind": "rae", "encoder": ENCODER, "decoder": DECODER}
SIZES = {"channels": 8, "width": 16, "depth": 2, "heads": 2, "grid": 3}
BY_CLASS = {**SIZES, "condition_width": 16, "num_classes": 4}
BODIES = {
    "lightning": {"kind": "lightning", **BY_CLASS, "time": "sinusoid", "condition_activations": 1},
    "ddt": {"kind": "ddt", **BY_CLASS, "num_frequencies": 8, "head_width": 24, "head_heads": 2},
    "sit": {"kind": "sit", **BY_CLASS, "patch_size": 1},
}
MMDIT = {"kind": "mmdit", **SIZES, "sequence_width": 32, "pooled_width": 16}


def class_settings(kind: str = "ddt", **changes) -> GeneratorSettings:
    names = ("star", "moon", "cross", "heart")
    return build(GeneratorSettings, {"body": BODIES[kind], "latents": RAE, "class_names": names, **changes})


def text_settings(**changes) -> GeneratorSettings:
    text = asdict(small_config())
    return build(GeneratorSettings, {"body": MMDIT, "latents": RAE, "text": text, **changes})


def class_generator(kind: str = "ddt", seed: int = 0, **changes) -> ClassGenerator:
    torch.manual_seed(seed)
    return shaken(ClassGenerator(class_settings(kind, **changes)))


def text_generator(seed: int = 0, **changes) -> TextGenerator:
    torch.manual_seed(seed)
    model = shaken(TextGenerator(text_settings(**changes)))
    words = {"clip_l": clip_words(), "clip_g": clip_words(), "t5": t5_words()}
    model.text.words = {name: words[name] for name in model.settings.text.towers}
    return model


def shaken(model: Generator) -> Generator:
    """Return the generator with no weight at zero, where a fresh body says nothing; statistics set."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.dit.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    config = model.settings.dit
    shape = config.grid**2, config.channels
    mean, std = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.5
    if hasattr(model.space, "statistics"):
        model.space.statistics.set(mean, std)
    return model.eval()
