"""The tunings whose memory is both planned and measured: fresh models of the sizes of `planning`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from tests.model.small import small_tokenizer
from tests.slow.planning import ROWS, settings
from tests.slow.planning import batch as rows_to_talk
from unimm.model.adapters import AdapterSettings
from unimm.model.config import UniMMConfig
from unimm.model.unimm import UniMM
from unimm.training.learner import Learner
from unimm.training.plan import Workload
from unimm.training.plan import tuning as workloads
from unimm.training.preference import PairBatch, PreferenceRecipe, PreferenceStage
from unimm.training.prompting import drawing_rows
from unimm.training.recipe import OptimRecipe, TrainRecipe

PROMPTS = ["two red circles left of a blue star", "a red star", "a blue star", "two red stars"]
TRAIN = TrainRecipe(output="x", num_steps=1, batch_size=4, optim=OptimRecipe(lr=1e-4), precision="float32")


class Fresh(Learner):
    """Begins from fresh weights, as reading them from a file would map its pages into the process."""

    def open(self) -> UniMM:
        model = UniMM(UniMMConfig(settings())).train()
        model.tokenizer = small_tokenizer()
        self.prepare(model, self.gradient_checkpointing)
        return model


class Pairs(PreferenceStage):
    """The stage on pictures that are no files."""

    def _pairs(self):
        return []

    def batch(self, start: int, count: int) -> PairBatch:
        side = self.model.config.settings.target_size
        return PairBatch(drawing_rows(self.model, PROMPTS), *torch.rand(2, count, 3, side, side))


class Talk(NamedTuple):
    """What of the finetune stage's recipe matters here."""

    train: TrainRecipe
    learner: Learner


LEARNERS = {
    "finetune": {"adapter": AdapterSettings(("llm", "connector", "dit"), rank=16)},
    "preference": {"adapter": AdapterSettings(("connector", "dit"), rank=16)},
    "preference_rooms": {"trains": "dit"},
}


def recipe(name: str) -> Any:
    """Return a recipe by the name of its tuning."""
    learner = Fresh("fresh", **LEARNERS[name])
    if name == "finetune":
        return Talk(TRAIN, learner)
    return PreferenceRecipe(TRAIN, learner, "pairs.jsonl")


def workload(name: str) -> Workload:
    """Return what is planned for it."""
    asked = recipe(name)
    if name == "finetune":
        return workloads.on_rows(*workloads.learning_of(asked.learner, settings(), refers=False), ROWS)
    return workloads.preferring(asked, settings(), settings().num_queries + 40)


def finetune() -> tuple[dict, dict, Callable]:
    learner = recipe("finetune").learner
    model, batch = learner.open(), rows_to_talk()

    def loss(generator: torch.Generator) -> torch.Tensor:
        losses = model.training_losses(batch, noise_draws=ROWS.noise_draws, generator=generator)
        return losses.ce + 2 * losses.flow

    return {"model": model}, learner.groups(model), loss


def preference(name: str) -> tuple[dict, dict, Callable]:
    stage = Pairs(recipe(name))
    batch = stage.batch(0, 4)
    return stage.modules, stage.groups, lambda generator: stage.step(batch, generator)["loss"]


STEPS = {
    "finetune": finetune,
    "preference": lambda: preference("preference"),
    "preference_rooms": lambda: preference("preference_rooms"),
}
"""By name: what makes modules, groups and a function from a generator to the loss of a step."""
