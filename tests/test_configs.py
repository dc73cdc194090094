"""Every file under configs/ builds what it describes, and a misspelt key is refused with a suggestion."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from unimm.config import load
from unimm.generator import ClassGenerator, GeneratorSettings, TextGenerator
from unimm.model import ModelSettings, UniMM, UniMMConfig
from unimm.training.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.y*ml"))


def settings_of(path: Path) -> type:
    """Return the dataclass that a file fills: by its folder; for recipes by the stage in its name."""
    kind = path.relative_to(ROOT / "configs").parts[0]
    if kind == "model":
        return ModelSettings
    if kind == "generator":
        return GeneratorSettings
    if kind == "train":
        stages = [stage for stage in STAGES if f"_{stage}_" in f"_{path.stem}_"]
        assert stages, f"{path.name}: a recipe's name holds its stage, one of {', '.join(STAGES)}"
        return STAGES[max(stages, key=len)]()[0]
    raise AssertionError(f"{path}: say here what a file of configs/{kind}/ fills")


def built(settings: ModelSettings | GeneratorSettings) -> torch.nn.Module:
    if isinstance(settings, ModelSettings):
        return UniMM(UniMMConfig(settings))
    return (ClassGenerator if settings.text is None else TextGenerator)(settings)


each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_there_are_configs_for_models_and_for_training():
    kinds = {path.relative_to(ROOT / "configs").parts[0] for path in CONFIGS}
    assert kinds >= {"model", "generator", "train"}


@each_config
def test_a_config_builds(path):
    settings = load(settings_of(path), path)
    if isinstance(settings, ModelSettings | GeneratorSettings):
        with torch.device("meta"):  # large models among them
            model = built(settings)
        assert sum(parameter.numel() for parameter in model.parameters()) > 0


@each_config
def test_a_misspelt_key_is_refused_with_a_suggestion(path, tmp_path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    key = next(iter(values))
    values[key[:-1] + "x"] = values.pop(key)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")  # a recipe may name a model's file beside it
    wrong = tmp_path / path.relative_to(ROOT)
    wrong.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ValueError, match=f"did you mean '{key}'"):
        load(settings_of(path), wrong)


@each_config
def test_an_override_with_an_unknown_key_is_refused(path):
    with pytest.raises(ValueError, match="nonsense"):
        load(settings_of(path), path, ["nonsense=1"])
