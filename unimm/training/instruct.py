"""The instruct stage: visual instruction tuning of a joint model, on talks of several turns with pictures in
and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unimm.training.joint import TalkData, TalkStage, talk_groups, talk_rows
from unimm.training.opening import open_model
from unimm.training.recipe import TrainRecipe


@dataclass(frozen=True)
class InstructRecipe:
    """What the instruct stage is run with."""

    train: TrainRecipe
    data: TalkData
    start: str  # model folder
    noise_draws: int = 4
    flow_weight: float = 2.0
    matrices: Literal["adamw", "muon"] = "muon"  # optimiser of the weights inside; DeepSpeed takes adamw
    profile: str = "standard"  # whose labels are trained on; "reference": newlines and turn marks too


class InstructStage(TalkStage):
    """The joint stage's step from a trained model, on longer talks."""

    @staticmethod
    def built_in_pieces(recipe: InstructRecipe) -> bool:
        """Whether no rank need ever hold the model."""
        return True

    def __init__(self, recipe: InstructRecipe):
        model = open_model(recipe.start)
        super().__init__(
            model,
            talk_rows(recipe, model),
            talk_groups(model, recipe.matrices),
            recipe.noise_draws,
            recipe.flow_weight,
        )
