"""The preference stage: pairs of a better and a worse picture of one prompt, by Flow-DPO with a constant beta
(Liu et al. 2025, arXiv 2501.13918)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.data.order import shuffled
from unimm.flow.density import logit_normal
from unimm.flow.preference import preference_loss
from unimm.flow.shifting import shift
from unimm.latents.pixels import to_pixels
from unimm.model.unimm import UniMM
from unimm.parts import Batch
from unimm.training.generating import repeated
from unimm.training.learner import Learner, Reference, export
from unimm.training.pairs import MakePairs, Pair, made_pairs, read_pairs
from unimm.training.prompting import conditions_under, drawing_rows
from unimm.training.recipe import TrainRecipe


@dataclass(frozen=True)
class PreferenceRecipe:
    """What the preference stage is run with."""

    train: TrainRecipe
    learner: Learner
    pairs: str  # a .jsonl of {prompt, chosen, rejected}; or the folder that `make` fills
    make: MakePairs | None = None  # null reads the file
    beta: float = 2000.0  # with the half, on mean errors; 100 to 8000 in the paper
    noise_draws: int = 1  # (noise, time) per pair and step
    anchor: float = 0.0  # weight of the winner's own flow loss: the margin alone lets both errors rise

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta: expected a positive number, got {self.beta}")
        if self.noise_draws < 1:
            raise ValueError(f"noise_draws: expected 1 or more, got {self.noise_draws}")
        if self.anchor < 0:
            raise ValueError(f"anchor: expected 0 or more, got {self.anchor}")
        if (self.make is None) != self.pairs.endswith(".jsonl"):
            raise ValueError(
                f"pairs: expected a .jsonl file without make, or a folder with it, got {self.pairs!r} and "
                f"make={self.make}"
            )


class PairBatch(NamedTuple):
    """Pairs of a step."""

    rows: Batch  # one per prompt, its queries at the end
    winner: Tensor  # [B 3 S S] pixels
    loser: Tensor  # [B 3 S S]

    def to(self, device: torch.device | str) -> PairBatch:
        """Return the same on a device."""
        return PairBatch(*(part.to(device) for part in self))


class PreferenceStage:
    """Winner and loser under one time and one noise, against the model as it was."""

    def __init__(self, recipe: PreferenceRecipe):
        self.recipe = recipe
        self.model: UniMM = recipe.learner.open()
        self.reference = Reference(self.model)
        self.pairs: list[Pair] = self._pairs()
        self.modules = {"model": self.model, **self.reference.modules}
        self.groups = {**recipe.learner.groups(self.model), **self.reference.groups}

    def _pairs(self) -> list[Pair]:
        if self.recipe.make is None:
            return read_pairs(Path(self.recipe.pairs))
        with self.reference.used() as before:
            return made_pairs(before, self.recipe.make, Path(self.recipe.pairs))

    def batch(self, start: int, count: int) -> PairBatch:
        chosen = shuffled(len(self.pairs), self.recipe.train.seed, start, count)
        pairs = [self.pairs[index] for index in chosen]
        size = self.model.config.settings.target_size
        return PairBatch(
            drawing_rows(self.model, [pair.prompt for pair in pairs]),
            to_pixels([pair.chosen for pair in pairs], size),
            to_pixels([pair.rejected for pair in pairs], size),
        )

    def step(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        model, draws = self.model, self.recipe.noise_draws
        with torch.no_grad():
            winner, loser = (
                repeated(model.encode_target(pixels).float(), draws) for pixels in (batch.winner, batch.loser)
            )
        self._refuse_equal(winner, loser)
        conditions = repeated(conditions_under(model, batch.rows), draws)
        with self.reference.used() as before:
            kept = repeated(conditions_under(before, batch.rows), draws)
        noise = torch.randn(winner.shape, generator=generator, device=generator.device).to(winner.device)
        t = shift(logit_normal(len(winner), generator=generator, device=winner.device), self._alpha())

        def reference(x_t: Tensor, t: Tensor) -> Tensor:
            with self.reference.used() as before:
                return before.velocity(x_t, t, kept)

        found = preference_loss(
            lambda x_t, t: model.velocity(x_t, t, conditions),
            reference, winner, loser, noise, t, self.recipe.beta,
        )  # fmt: skip
        terms = {name: value.mean() for name, value in found._asdict().items()}
        terms["loss"] = terms["loss"] + self.recipe.anchor * terms["winner_error"]
        return {**terms, "accuracy": (found.margin < 0).float().mean()}

    def _alpha(self) -> float:
        return self.model.config.settings.alpha

    def _refuse_equal(self, winner: Tensor, loser: Tensor) -> None:
        if (winner == loser).flatten(1).all(1).any():
            raise ValueError(
                f"pairs: expected two pictures that differ, got a pair in {self.recipe.pairs} whose latents "
                "are the same; drop it"
            )

    def compile(self) -> None:
        self.model.dit.compile()

    def export(self, newest: Path, folder: Path) -> None:
        """Write the model, or the adapter to "adapter" beside its folder."""
        export(self.model, newest, folder)
