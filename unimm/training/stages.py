"""The stages by name: what `unimm train STAGE CONFIG key=value` and `python -m train.STAGE` run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from unimm import config
from unimm.loaded import quiet
from unimm.tables import expect_known
from unimm.training.export import STAGE
from unimm.training.loop import Result, train
from unimm.training.ranks import expect_engine
from unimm.whole import write_whole


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


def _preference() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.preference import PreferenceRecipe, PreferenceStage

    return PreferenceRecipe, PreferenceStage


def _reward() -> tuple[type, Callable[[Any], Any]]:
    from unimm.training.reward import RewardRecipe, RewardStage

    return RewardRecipe, RewardStage


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
    "preference": _preference,
    "reward": _reward,
    "class_conditional": _class_conditional,
    "text_to_image": _text_to_image,
}


@quiet()  # bars of transformers would stand among the run's own
def main(stage: str, arguments: Sequence[str]) -> Result:
    """Train a stage: the first argument is a YAML file, the rest are `key=value`.

    Raises:
        ValueError: an unknown stage, no file, or a recipe that cannot be.
    """
    expect_known("stage", stage, STAGES)
    arguments = [word for word in arguments if not word.startswith("--local_rank=")]  # of `deepspeed`
    if not arguments or "=" in arguments[0]:
        raise ValueError(f"train {stage}: expected a recipe (a YAML file) first, got {list(arguments)}")
    recipe_class, stage_class = STAGES[stage]()
    recipe = config.load(recipe_class, arguments[0], arguments[1:])
    expect_engine(recipe.train)
    torch.manual_seed(recipe.train.seed)  # fresh weights are the same on every rank and in every run
    run = Path(recipe.train.output)
    expect_stage(run, stage)  # before anything that takes long
    with _construction(stage_class, recipe):
        trained = stage_class(recipe)
    claim(run, stage)
    result = train(recipe.train, trained, recipe)
    if hasattr(trained, "export") and _is_first_rank():  # stages whose product is a whole model
        trained.export(result.checkpoint, run / getattr(trained, "product", "model"))
    return result


def _is_first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _construction(stage_class: type, recipe: Any) -> AbstractContextManager[None]:
    """Return what a stage is built in: under ZeRO-3, where the stage can, without whole modules."""
    settings, can = recipe.train.deepspeed, getattr(stage_class, "built_in_pieces", None)
    if settings is None or settings.zero_stage < 3 or can is None or not can(recipe):
        return nullcontext()
    from unimm.training.engine import building  # deepspeed is an extra

    return building(recipe.train)


def claim(run: Path, stage: str) -> None:
    """Note in a run's folder which stage it is of: once the stage is there, so that a recipe whose data or
    model is not there leaves nothing.

    Raises:
        ValueError: it holds a run of another stage.
    """
    expect_stage(run, stage)
    if _is_first_rank() and not (run / STAGE).is_file():
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / STAGE, json.dumps({"stage": stage}) + "\n")  # other ranks may be looking


def expect_stage(run: Path, stage: str) -> None:
    """Refuse the folder of a run of another stage; one that holds none is anyone's.

    Raises:
        ValueError: it holds a run of another stage.
    """
    if not (run / STAGE).is_file():
        return
    found = json.loads((run / STAGE).read_text(encoding="utf-8"))["stage"]
    if found != stage:
        raise ValueError(f"output: {run} holds a run of the stage {found}, expected one of {stage}")
