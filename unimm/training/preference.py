"""The preference stage: pairs of a better and a worse picture of one prompt, by Flow-DPO with a constant beta
(Liu et al. 2025, arXiv 2501.13918)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.data.order import shuffled
from unimm.flow.preference import preference_loss
from unimm.latents.pixels import to_pixels
from unimm.parts import Batch
from unimm.training.generating import repeated
from unimm.training.learner import Learner, TunedStage
from unimm.training.pairs import MakePairs, Pair, made_pairs, read_pairs
from unimm.training.prompting import conditions_under, drawing_rows
from unimm.training.ranks import local_device
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
        if not self.anchor >= 0:
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


class PreferenceStage(TunedStage):
    """Winner and loser under one time and one noise, against the model as it was."""

    _flops: int | None = None  # of a pair

    def __init__(self, recipe: PreferenceRecipe):
        super().__init__(recipe.learner, recipe.train)
        self.recipe = recipe
        self.pairs: list[Pair] = self._pairs()

    def _pairs(self) -> list[Pair]:
        if self.recipe.make is None:
            return read_pairs(Path(self.recipe.pairs))
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        if ranks > 1 and not (Path(self.recipe.pairs) / "pairs.jsonl").exists():
            raise ValueError(
                f"make: expected pairs in {self.recipe.pairs} before {ranks} ranks train: one process makes "
                "them; run this recipe once without torchrun, or name a .jsonl"
            )
        with self.reference.used() as before:
            before.to(local_device(self.recipe.train))  # the engine, which moves modules, comes later
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

    def amounts(self, batch: PairBatch) -> Mapping[str, float]:
        """How much a batch is: tokens of its prompts' rows, without padding, and two pictures a pair."""
        return {"tokens": int(batch.rows.attention_mask.sum()), "images": 2 * len(batch.winner)}

    def flops(self, batch: PairBatch) -> float:
        """How many operations a batch is, encoding and the reference included, with rows as in the first."""
        if self._flops is None:
            from unimm.training.plan.estimate import operations  # plans know this stage
            from unimm.training.plan.tuning import preferring

            tokens = batch.rows.input_ids.shape[1]
            self._flops = operations(preferring(self.recipe, self.model.config.settings, tokens), 1)
        return self._flops * len(batch.winner)

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
        noise, t = self.noise_and_times(winner, generator)
        found = preference_loss(
            lambda x_t, t: model.velocity(x_t, t, conditions),
            self.referred(kept), winner, loser, noise, t, self.recipe.beta,
        )  # fmt: skip
        terms = {name: value.mean() for name, value in found._asdict().items()}
        terms["loss"] = terms["loss"] + self.recipe.anchor * terms["winner_error"]
        return {**terms, "accuracy": (found.margin < 0).float().mean()}

    def _refuse_equal(self, winner: Tensor, loser: Tensor) -> None:
        if (winner == loser).flatten(1).all(1).any():
            raise ValueError(
                f"pairs: expected two pictures that differ, got a pair in {self.recipe.pairs} whose latents "
                "are the same; drop it"
            )
