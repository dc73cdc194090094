"""Recipes of the generators' stages for generators that train in seconds, on the codec of `road`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tests.text.small_sd3 import small_config
from tests.training.road import DECODER, ENCODER, run_of
from unimm.config import build
from unimm.training.class_conditional import ClassRecipe
from unimm.training.text_to_image import TextRecipe
from unimm.world.classes import CLASSES

RAE = {"kind": "rae", "encoder": ENCODER, "decoder": DECODER}
PIXELS = {"kind": "pixels", "patch_size": 2, "image_size": 12}  # 36 tokens of 12 channels
SIZES = {"channels": 16, "width": 16, "depth": 1, "heads": 2, "grid": 3}
BY_CLASS = {**SIZES, "condition_width": 16, "num_classes": len(CLASSES)}
DDT = {"kind": "ddt", **BY_CLASS, "num_frequencies": 8, "head_width": 24, "head_heads": 2, "head_depth": 1}
LIGHTNING = {"kind": "lightning", **BY_CLASS, "time": "sinusoid", "condition_activations": 1}
SIT = {"kind": "sit", **BY_CLASS, "channels": 12, "grid": 6, "width": 48, "depth": 2}
TEXT = {**asdict(small_config(clip_g=None, towers=("clip_l", "t5"))), "width": 16}
TEXT["clip_l"] |= {"vocab_size": 560, "tokens": 24}
MMDIT = {"kind": "mmdit", **SIZES, "sequence_width": 16, "pooled_width": 6}


def class_recipe(folder: Path, name: str = "ddt", **changes) -> ClassRecipe:
    values = {
        "train": run_of(folder, name, **changes.pop("train", {})),
        "generator": {"body": DDT, "latents": RAE},
        "pictures": {"folder": str(folder / "singles"), "count": 40, "pixels": 24, "scenes": "single"},
        "codec_run": str(folder / "decoder"),
    }
    return build(ClassRecipe, {**values, **changes})


def text_recipe(folder: Path, name: str = "text", **changes) -> TextRecipe:
    values = {
        "train": run_of(folder, name, **changes.pop("train", {})),
        "generator": {"body": MMDIT, "latents": RAE, "text": TEXT},
        "pictures": {"folder": str(folder / "pictures"), "count": 40, "pixels": 24, "seed": 1},
        "text": {"words": str(folder / "words"), "lr_scale": 1.0},
        "codec_run": str(folder / "decoder"),
    }
    return build(TextRecipe, {**values, **changes})


REPA = {
    "generator": {"body": SIT, "latents": PIXELS},
    "codec_run": None,
    "alignment": {"block": 1, "hidden": 32},
}
CLASS_RECIPES = {
    "ddt": {"latents": "singles-latents"},
    "lightning": {
        "generator": {"body": LIGHTNING, "latents": RAE, "flow": {"direction_weight": 1.0, "alpha": 1.0}},
        "noise_draws": 2,
    },
    "sit": REPA,
}


def recipe_of(folder: Path, name: str, **changes) -> ClassRecipe:
    parts = dict(CLASS_RECIPES[name])
    if "latents" in parts:
        parts["latents"] = str(folder / parts["latents"])
    if "alignment" in parts:
        own = {"run": str(folder / "encoder"), "encoder": ENCODER}
        parts["alignment"] = {"own": [own], **parts["alignment"], **changes.pop("alignment", {})}
    return class_recipe(folder, name, **parts, **changes)
