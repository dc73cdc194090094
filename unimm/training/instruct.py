"""The instruct stage: visual instruction tuning of a joint model, on talks of several turns with pictures in
and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unimm.model.unimm import UniMM
from unimm.tables import expect_known
from unimm.training.joint import DrawingSide, TalkData, TalkStage, talk_groups, talk_rows
from unimm.training.opening import open_model
from unimm.training.recipe import FROZEN, Group, TrainRecipe
from unimm.training.world_rows import check_flow


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
    trains: str = "all"  # of TRAINED: who learns
    drawing: DrawingSide = DrawingSide()
    gradient_checkpointing: bool = False  # compute blocks again for gradients: less memory, more time

    def __post_init__(self) -> None:
        expect_known("trains", self.trains, TRAINED)
        check_flow(self.noise_draws, self.flow_weight)


TRAINED: dict[str, tuple[str, ...] | None] = {"all": None, "projector": ("projector",)}
"""Who learns. Visual instruction tuning (Liu et al. 2023) teaches the projector alone the LLM's language
first, and then all rooms."""


def instruct_groups(model: UniMM, recipe: InstructRecipe) -> dict[str, Group]:
    """Return who learns: of what the joint stage trains, all or the rooms that are named."""
    whole, rooms = talk_groups(model, recipe.matrices, recipe.drawing), TRAINED[recipe.trains]
    if rooms is None:
        return whole
    return {"model": FROZEN, **{f"model.{room}": Group(optimizer=recipe.matrices) for room in rooms}}


class InstructStage(TalkStage):
    """The joint stage's step from a trained model, on longer talks."""

    @staticmethod
    def built_in_pieces(recipe: InstructRecipe) -> bool:
        """Whether no rank need ever hold the model."""
        return True

    def __init__(self, recipe: InstructRecipe):
        model = open_model(recipe.start)
        if recipe.gradient_checkpointing:
            model.compute_again()
        super().__init__(
            model,
            talk_rows(recipe, model),
            instruct_groups(model, recipe),
            recipe.noise_draws,
            recipe.flow_weight,
        )
