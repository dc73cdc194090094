"""A complete model with random weights in a folder: what the command line is tried on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.model import UniMM, UniMMConfig
from unimm.text.tokenizer import train_tokenizer
from unimm.world.language import caption
from unimm.world.scene import sample_scene

SIZES = {
    "encoder": {"image_size": 16, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "mlp_width": 32},
    "decoder": {
        "channels": 32,
        "width": 32,
        "depth": 1,
        "heads": 2,
        "mlp_width": 32,
        "patch_size": 16,
        "grid": 2,
    },
    "llm": {"width": 32, "depth": 1, "heads": 2, "key_value_heads": 2, "mlp_width": 32, "context": 2048},
    "dit": {"channels": 32, "width": 32, "depth": 1, "heads": 2, "condition_width": 16, "grid": 2},
    "num_queries": 4,
}


@pytest.fixture(scope="session")
def random_model() -> UniMM:
    rng = np.random.default_rng(0)
    tokenizer = train_tokenizer((caption(sample_scene(rng), rng) for _ in range(50)), vocab_size=400)
    sizes = {**SIZES, "llm": {**SIZES["llm"], "vocab_size": len(tokenizer)}}
    torch.manual_seed(0)
    model = UniMM(UniMMConfig(sizes)).eval()
    with torch.no_grad():
        for parameter in model.dit.parameters():  # a fresh one gives velocity 0, whatever it is asked
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.tokenizer = tokenizer
    return model


@pytest.fixture(scope="session")
def model_folder(random_model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "random"
    random_model.save_pretrained(folder)
    return str(folder)
