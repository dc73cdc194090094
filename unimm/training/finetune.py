"""The finetune stage: a trained model goes on with little good data, in some rooms or through an adapter
(Scale-RAE, arXiv 2601.16208, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unimm.training.joint import TalkData, TalkStage, talk_rows
from unimm.training.learner import Learner, describe, export, product_of
from unimm.training.recipe import TrainRecipe
from unimm.training.world_rows import check_flow


@dataclass(frozen=True)
class FinetuneRecipe:
    """What the finetune stage is run with."""

    train: TrainRecipe
    learner: Learner
    data: TalkData
    noise_draws: int = 4
    flow_weight: float = 2.0
    profile: str = "standard"  # whose labels are trained on; "reference": newlines and turn marks too

    def __post_init__(self) -> None:
        check_flow(self.noise_draws, self.flow_weight)


class FinetuneStage(TalkStage):
    """The joint stage's step from a trained model, of which some learns."""

    def __init__(self, recipe: FinetuneRecipe):
        model = recipe.learner.open()
        super().__init__(
            model,
            talk_rows(recipe, model),
            recipe.learner.groups(model),
            recipe.noise_draws,
            recipe.flow_weight,
        )
        self.product = product_of(model)

    def export(self, newest: Path, folder: Path) -> None:
        """Write the model, or the adapter alone."""
        export(self.model, newest, folder)

    def describe(self, run: Path) -> None:
        """Write what `unimm.training.export` needs besides."""
        describe(self.model, run)
