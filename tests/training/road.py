"""The whole road in miniature: recipes of all four stages for a model that trains in seconds."""

from __future__ import annotations

from pathlib import Path

from unimm.config import build
from unimm.training.decoder import DecoderRecipe
from unimm.training.encoder import EncoderRecipe
from unimm.training.instruct import InstructRecipe
from unimm.training.joint import JointRecipe
from unimm.training.vocabulary import world_tokenizer

ENCODER = {"image_size": 12, "patch_size": 4, "width": 16, "depth": 1, "heads": 2, "mlp_width": 32}
DECODER = {
    "channels": 16, "width": 16, "depth": 1, "heads": 2, "mlp_width": 32, "patch_size": 8, "grid": 3,
}  # fmt: skip
LLM = {"vocab_size": 300, "width": 16, "depth": 1, "heads": 2, "key_value_heads": 1, "mlp_width": 32}
MODEL = {
    "encoder": ENCODER,
    "decoder": DECODER,
    "llm": {**LLM, "context": 512},
    "dit": {"channels": 16, "width": 32, "depth": 1, "heads": 2, "condition_width": 16, "grid": 3},
    "num_queries": 9,
}


def run_of(folder: Path, stage: str, **changes) -> dict:
    """Return the loop's part of a recipe: two steps of six rows in float32."""
    optim = {"lr": 1e-2}
    run = {"output": str(folder / stage), "num_steps": 2, "batch_size": 6, "optim": optim, "threads": 1}
    return {**run, "precision": "float32", "log_every": 1, "prefetch": 0, **changes}


def pictures(folder: Path) -> dict:
    return {"folder": str(folder / "pictures"), "count": 40, "pixels": 24, "seed": 1}


def tokenizer(folder: Path) -> str:
    return str(world_tokenizer(folder / "tokenizer", vocab_size=300, num_scenes=50))


def encoder_recipe(folder: Path, **changes) -> EncoderRecipe:
    values = {
        "train": run_of(folder, "encoder", **changes),
        "pictures": pictures(folder),
        "tokenizer": tokenizer(folder),
        "encoder": ENCODER,
        "text": {**LLM, "context": 96},
        "painter": DECODER,
    }
    return build(EncoderRecipe, values)


def decoder_recipe(folder: Path, **changes) -> DecoderRecipe:
    values = {
        "train": run_of(folder, "decoder", **changes),
        "pictures": pictures(folder),
        "encoder_run": str(folder / "encoder"),
        "encoder": ENCODER,
        "decoder": DECODER,
        "statistics_pictures": 40,
    }
    return build(DecoderRecipe, values)


def talk(folder: Path, **changes) -> dict:
    return {"pictures": pictures(folder), "latents": str(folder / "latents"), "row_length": 256, **changes}


def joint_recipe(folder: Path, matrices: str = "muon", **changes) -> JointRecipe:
    values = {
        "train": run_of(folder, "joint", **changes),
        "data": talk(folder),
        "model": MODEL,
        "tokenizer": tokenizer(folder),
        "codec_run": str(folder / "decoder"),
        "noise_draws": 2,
        "matrices": matrices,
    }
    return build(JointRecipe, values)


def instruct_recipe(folder: Path, **changes) -> InstructRecipe:
    values = {
        "train": run_of(folder, "instruct", **changes),
        "data": talk(folder, pattern=["draw", "look", "chat", "redraw"], row_length=512),
        "start": str(folder / "joint" / "model"),
        "noise_draws": 2,
    }
    return build(InstructRecipe, {**values, "train": {**values["train"], "batch_size": 4}})
