"""What would fit: it can be run, it is said by the recipe's own keys, and what is refused is not offered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.model.small import small_settings
from tests.training.plan.test_estimate import DEVICE, GIB, RECIPE, ROWS, estimated, workload
from unimm.training.joint import talk_groups
from unimm.training.learner import Learner
from unimm.training.plan import Assumptions, estimate
from unimm.training.plan.remedies import again_key, changes_of, computes_again, merged, remedies
from unimm.training.plan.stages import STAGES
from unimm.training.plan.workload import Workload, talking
from unimm.training.recipe import DeepSpeedRecipe, TrainRecipe
from unimm.training.stages import STAGES as TRAINED

RECIPES = Path(__file__).parents[3] / "configs" / "train"


@dataclass(frozen=True)
class Recipe:
    train: TrainRecipe = RECIPE


@dataclass(frozen=True)
class WithBlocks(Recipe):
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class WithLearner(Recipe):
    learner: Learner = field(default_factory=lambda: Learner("tiny", trains="dit"))


@dataclass(frozen=True)
class Run:
    recipe: Any = field(default_factory=Recipe)
    workload: Workload = field(default_factory=workload)
    again: bool = False


def said_of(run, memory, gpus=1):
    tight = replace(DEVICE, memory_bytes=memory)
    return [said for said, _ in remedies(run, gpus, tight, Assumptions())]


def test_what_does_not_fit_is_told_what_would():
    whole = estimated(gpus=4)
    tight = replace(DEVICE, memory_bytes=whole.device_total - 1)
    assert not estimated(gpus=4, device=tight).fits
    cures = remedies(Run(), 4, tight, Assumptions())
    assert cures
    assert all(found.fits for _, found in cures)
    assert "train.deepspeed.zero_stage=3" in [said for said, _ in cures]
    assert said_of(Run(), GIB, gpus=4) == []


def test_what_would_fit_can_be_run():
    """Stage 3 is not compiled, and what the recipe offloads already stays offloaded."""
    offloading = DeepSpeedRecipe(zero_stage=2, offload_optimizer=True, timeout_minutes=3)
    recipe = replace(RECIPE, deepspeed=offloading, compile=True)
    changed = {said: one for said, one, _ in changes_of(recipe, 2, True, None)}
    third = changed["train.deepspeed.zero_stage=3 train.compile=false"]
    assert third.deepspeed == replace(offloading, zero_stage=3)
    fourth = changed[
        "train.deepspeed.offload_parameters=true train.deepspeed.zero_stage=3 train.compile=false"
    ]
    assert fourth.deepspeed == replace(offloading, zero_stage=3, offload_parameters=True)
    both = merged(replace(third, accumulation=4), fourth, recipe)
    assert (both.accumulation, both.deepspeed, both.compile) == (4, fourth.deepspeed, False)


def test_changes_together_are_written_as_they_were_estimated(monkeypatch):
    """Typed behind a recipe the last of two values counts, so none is told twice."""

    @dataclass
    class Found:
        fits: bool

    def only_all(_, recipe, *others):
        offloads = recipe.deepspeed.zero_stage == 3 and recipe.deepspeed.offload_optimizer
        return Found(offloads and recipe.accumulation > 1 and others[-1])

    monkeypatch.setattr("unimm.training.plan.remedies.estimate", only_all)
    first = replace(RECIPE, deepspeed=DeepSpeedRecipe(zero_stage=0), compile=True)
    ((said, _),) = remedies(Run(WithBlocks(first)), 4, DEVICE, Assumptions())
    assert said == (
        "gradient_checkpointing=true train.accumulation=8 train.deepspeed.offload_optimizer=true "
        "train.deepspeed.zero_stage=3 train.compile=false"
    )


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        (WithBlocks(), "gradient_checkpointing"),
        (WithLearner(), "learner.gradient_checkpointing"),
        (Recipe(), None),
    ],
)
def test_blocks_are_computed_again_by_the_key_that_the_recipe_has(recipe, key):
    assert again_key(recipe) == key
    least = max(estimated(again=again).device_total for again in (False, True))
    said = said_of(Run(recipe), least - 1)
    assert said
    assert [one for one in said if "checkpointing" in one] == ([f"{key}=true"] if key else [])
    assert not [one for one, _, _ in changes_of(RECIPE, 1, True, key) if "checkpointing" in one]


def test_a_recipe_says_whether_it_computes_again():
    assert computes_again(WithBlocks(gradient_checkpointing=True))
    assert computes_again(WithLearner(learner=Learner("tiny", trains="dit", gradient_checkpointing=True)))
    assert not computes_again(WithLearner())
    assert not computes_again(Recipe())


def test_deepspeed_is_not_offered_to_muon():
    muon = talking(small_settings(), ROWS, lambda model: talk_groups(model, "muon"))
    alone = replace(RECIPE, deepspeed=None)
    found = estimate(muon, alone, 1, DEVICE)
    said = said_of(Run(Recipe(alone), muon), found.device_total - 1)
    assert said == ["train.accumulation=32"]


def test_what_a_recipe_contradicts_is_not_offered():
    """A recipe that refuses ZeRO 3, as that of a decoder with an adversary does."""

    @dataclass(frozen=True)
    class Whole(Recipe):
        def __post_init__(self) -> None:
            if self.train.deepspeed.zero_stage == 3:
                raise ValueError("in pieces")

    memory = estimated(gpus=4).device_total - 1
    assert any("zero_stage=3" in said for said in said_of(Run(), memory, gpus=4))
    found = said_of(Run(Whole()), memory, gpus=4)
    assert found
    assert not any("zero_stage=3" in said for said in found)


def test_every_stage_of_training_can_be_planned():
    assert STAGES.keys() == TRAINED.keys()
    assert all(STAGES[name][0] is TRAINED[name]()[0] for name in STAGES)
