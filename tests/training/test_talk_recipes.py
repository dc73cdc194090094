"""What the recipes of joint, instruct and finetune refuse alike, before a model or a picture is opened."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.training.road import MODEL
from unimm.config import build
from unimm.data.world import Pictures
from unimm.model.config import ModelSettings
from unimm.training.finetune import FinetuneRecipe
from unimm.training.instruct import InstructRecipe
from unimm.training.joint import JointRecipe
from unimm.training.learner import Learner
from unimm.training.recipe import OptimRecipe, TrainRecipe
from unimm.training.world_rows import TalkData

TRAIN = TrainRecipe("run", num_steps=1, batch_size=4, optim=OptimRecipe(lr=1e-3))
DATA = TalkData(Pictures("pictures"), latents="latents")
RECIPES = [
    JointRecipe(TRAIN, DATA, build(ModelSettings, MODEL), tokenizer="tiny", codec_run="tiny"),
    InstructRecipe(TRAIN, DATA, start="tiny"),
    FinetuneRecipe(TRAIN, Learner("tiny", trains="dit"), DATA),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise_draws": 0}, "noise_draws: expected a whole number of at least 1, got 0"),
        ({"flow_weight": -1.0}, "flow_weight: expected 0 or more, got -1"),
        ({"flow_weight": math.nan}, "flow_weight: expected 0 or more, got nan"),
    ],
)
def test_a_flow_loss_that_cannot_be_is_refused(recipe, change, said):
    with pytest.raises(ValueError, match=said):
        replace(recipe, **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pattern": ()}, "data.pattern: expected one or more of draw, look, .*, got none"),
        ({"pattern": ("draw", "lok")}, "data.pattern: .* 'lok'; did you mean 'look'"),
        ({"context_noise": -0.1}, "data.context_noise: expected 0 or more, got -0.1"),
    ],
)
def test_rows_that_cannot_be_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(DATA, **change)
