"""The reward stage: the model draws, its drawings are judged, and those above their group's mean become
likelier. Online, by Advantage Weighted Matching (Xue et al. 2025, arXiv 2509.25050), which is the flow loss
weighted; groups and standardised advantages as in Flow-GRPO (Liu et al. 2025, arXiv 2505.05470)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.flow.advantage import advantage_loss, advantages
from unimm.model.drawing import draw_latents, sampling_of
from unimm.parts import Batch
from unimm.tables import pick
from unimm.training.generating import repeated
from unimm.training.learner import Learner, TunedStage, quiet
from unimm.training.prompting import Asked, PromptData, conditions_under, drawing_rows
from unimm.training.recipe import TrainRecipe
from unimm.training.rewards import REWARDS, Reward, scores_of


@dataclass(frozen=True)
class RewardRecipe:
    """What the reward stage is run with; `train.batch_size` counts prompts."""

    train: TrainRecipe
    learner: Learner
    prompts: PromptData = field(default_factory=PromptData)
    reward: str = "answer_logits"  # a row of REWARDS
    group: int = 8  # drawings per prompt; 24 in Flow-GRPO
    noise_draws: int = 4  # (noise, time) per drawing and step
    kl: float = 0.1  # weight of |v - v_ref|^2 against the start
    steps: int = 10  # of the sampler that draws; evaluation takes more
    guidance: float | None = None  # of the same; null: the model's own

    def __post_init__(self) -> None:
        pick("reward", self.reward, REWARDS)
        if self.group < 2:
            raise ValueError(f"group: expected 2 drawings or more to compare, got {self.group}")
        for name in ("noise_draws", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not self.kl >= 0:
            raise ValueError(f"kl: expected 0 or more, got {self.kl}")
        if self.train.deepspeed is not None and self.train.deepspeed.zero_stage == 3:
            raise ValueError(
                "train.deepspeed.zero_stage: expected 0, 1 or 2, got 3, under which every rank takes part in "
                "every pass, and ranks judge their drawings in unequal numbers of passes; less memory: an "
                "adapter, learner.gradient_checkpointing=true, offload_optimizer"
            )


class PromptBatch(NamedTuple):
    """Prompts of a step."""

    rows: Batch
    asked: tuple[Asked, ...]

    def to(self, device: torch.device | str) -> PromptBatch:
        """Return the same on a device."""
        return PromptBatch(self.rows.to(device), self.asked)


class RewardStage(TunedStage):
    """Draw, judge, learn: one update for each round of drawings."""

    _flops: int | None = None  # of a prompt

    def __init__(self, recipe: RewardRecipe, reward: Reward | None = None):
        """Take the recipe, and a reward of one's own instead of the row that it names."""
        super().__init__(recipe.learner, recipe.train)
        self.recipe, self.reward, self.prompts = recipe, reward, recipe.prompts.open()

    def batch(self, start: int, count: int) -> PromptBatch:
        asked = self.prompts.at(start, count)
        return PromptBatch(drawing_rows(self.model, [each.text for each in asked]), tuple(asked))

    def amounts(self, batch: PromptBatch) -> Mapping[str, float]:
        """How much a batch is: tokens of its prompts' rows, without padding, and the pictures it draws."""
        tokens = int(batch.rows.attention_mask.sum())
        return {"tokens": tokens, "images": len(batch.asked) * self.recipe.group}

    def flops(self, batch: PromptBatch) -> float:
        """How many operations a batch is, drawing, judging and the reference included.

        Rows are taken to be as in the first batch; a reward of one's own is not counted.
        """
        if self._flops is None:
            from unimm.training.plan.estimate import operations  # plans know this stage
            from unimm.training.plan.tuning import rewarding

            tokens, settings = batch.rows.input_ids.shape[1], self.model.config.settings
            self._flops = operations(rewarding(self.recipe, settings, tokens, self.reward is None), 1)
        return self._flops * len(batch.asked)

    def step(self, batch: PromptBatch, generator: torch.Generator) -> dict[str, Tensor]:
        recipe, model, count = self.recipe, self.model, len(batch.asked)
        drawn = self._drawn(batch, generator)
        scores = self._scores(batch, drawn).reshape(count, recipe.group)
        weights = advantages(scores)
        conditions = repeated(conditions_under(model, batch.rows), recipe.group * recipe.noise_draws)
        with self.reference.used() as before:
            kept = repeated(conditions_under(before, batch.rows), recipe.group * recipe.noise_draws)
        x = repeated(drawn, recipe.noise_draws)
        noise, t = self.noise_and_times(x, generator)
        found = advantage_loss(
            lambda x_t, t: model.velocity(x_t, t, conditions),
            self.referred(kept), x, noise, t, repeated(weights.flatten(), recipe.noise_draws), recipe.kl,
        )  # fmt: skip
        return {
            "loss": found.loss.mean(),
            "reward": scores.mean(),
            "spread": scores.std(1, unbiased=False).mean(),
            "told": (weights != 0).any(1).float().mean(),
            "flow": found.error.mean(),
            "divergence": found.divergence.mean(),
        }

    @torch.no_grad()
    def _drawn(self, batch: PromptBatch, generator: torch.Generator) -> Tensor:
        """Return latents [B * group N C] that the model draws as it is now."""
        recipe, count = self.recipe, len(batch.asked)
        sampling = sampling_of(self.model, recipe.steps, recipe.guidance)
        seeds = torch.randint(2**31, (count * recipe.group,), generator=generator, device=generator.device)
        with quiet(self.model):
            conditions = conditions_under(self.model, batch.rows)
            owners = [index for index in range(count) for _ in range(recipe.group)]
            return draw_latents(self.model, conditions, seeds.tolist(), sampling, owners=owners)

    @torch.no_grad()
    def _scores(self, batch: PromptBatch, drawn: Tensor) -> Tensor:
        """Return the rewards [B * group]; the model that judges is the one from before training."""
        each = [asked for asked in batch.asked for _ in range(self.recipe.group)]
        with self.reference.used() as before:
            reward = self.reward or REWARDS[self.recipe.reward](before)
            return scores_of(reward, before, drawn, [e.text for e in each], [e.metadata for e in each])
