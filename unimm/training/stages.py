"""The stages by name: what `unimm train STAGE CONFIG key=value` and `python -m train.STAGE` run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from unimm import config
from unimm.tables import expect_known
from unimm.training.loop import Result, train


def _encoder() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.encoder import EncoderRecipe, EncoderStage

    return EncoderRecipe, EncoderStage


def _decoder() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.decoder import DecoderRecipe, DecoderStage

    return DecoderRecipe, DecoderStage


def _vae() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.vae import VAERecipe, VAEStage

    return VAERecipe, VAEStage


def _joint() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.joint import JointRecipe, JointStage

    return JointRecipe, JointStage


def _instruct() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.instruct import InstructRecipe, InstructStage

    return InstructRecipe, InstructStage


def _finetune() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.finetune import FinetuneRecipe, FinetuneStage

    return FinetuneRecipe, FinetuneStage


def _class_conditional() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.class_conditional import ClassRecipe, ClassStage

    return ClassRecipe, ClassStage


def _text_to_image() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.text_to_image import TextRecipe, TextStage

    return TextRecipe, TextStage


# Each imports its stage when asked: a stage brings in its rooms.
STAGES: dict[str, Callable[[], tuple[type, Callable[[Any], Any]]]] = {
    "encoder": _encoder,
    "decoder": _decoder,
    "vae": _vae,
    "joint": _joint,
    "instruct": _instruct,
    "finetune": _finetune,
    "class_conditional": _class_conditional,
    "text_to_image": _text_to_image,
}


def main(stage: str, arguments: Sequence[str]) -> Result:
    """Train a stage: the first argument is a YAML file, the rest are `key=value`.

    Raises:
        ValueError: an unknown stage, no file, or a recipe that cannot be.
    """
    expect_known("stage", stage, STAGES)
    if not arguments or "=" in arguments[0]:
        raise ValueError(f"train {stage}: expected a recipe (a YAML file) first, got {list(arguments)}")
    recipe_class, stage_class = STAGES[stage]()
    recipe = config.load(recipe_class, arguments[0], arguments[1:])
    torch.manual_seed(recipe.train.seed)  # fresh weights are the same on every rank and in every run
    trained = stage_class(recipe)
    result = train(recipe.train, trained, recipe)
    first_rank = os.environ.get("RANK", "0") == "0"
    if hasattr(trained, "export") and first_rank:  # stages whose product is a whole model
        trained.export(result.checkpoint, Path(recipe.train.output) / "model")
    return result
