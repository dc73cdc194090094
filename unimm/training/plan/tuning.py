"""Workloads of the stages that tune a trained model: finetune, preference, reward.

A sample of `preference` is a pair, of `reward` a prompt: the first has two pictures to learn from, the second
draws `group` of its own. How long a prompt is, is not known beforehand: rows are taken to be those of one of
sixteen words (`TYPICAL`). Pairs that are made and pictures that are kept as latents before the first step are
not counted, nor a reward that is a function of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unimm.llm.decoding import llm_states
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.drawing import sampling_of
from unimm.model.drawing.strokes import velocity_under
from unimm.model.loading import find_folder, read_config
from unimm.model.published import is_published
from unimm.model.unimm import UniMM
from unimm.request import PASS, passes
from unimm.text.tokenizer import load_tokenizer
from unimm.training.learner import Learner, as_before, frozen_copy, quiet
from unimm.training.optim import freeze_and_collect
from unimm.training.plan.bits import give_few_bits
from unimm.training.plan.passes import Pass, count_pass
from unimm.training.plan.workload import Rows, Workload, connector_pass, learning, llm_pass, on_rows
from unimm.training.prompting import drawing_row
from unimm.training.recipe import FROZEN, Group
from unimm.training.verification import GENERATE, OPENING, PROMPT, works

if TYPE_CHECKING:
    from unimm.training.preference import PreferenceRecipe
    from unimm.training.reward import RewardRecipe

TYPICAL = "a photo of two small red circles left of a large blue star, on a grey background"
"""A prompt whose row stands for all."""
MARKS = 3
"""Positions after a picture to draw: its end, the turn's end, a newline."""
FLOAT32 = 4

Modules = Mapping[str, nn.Module]


def settings_of(learner: Learner) -> ModelSettings:
    """Return the sizes of the model that a learner starts from.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is a published one, whose sizes stand in several
            folders.
    """
    folder = find_folder(learner.start)
    if is_published(folder):
        raise ValueError(
            f"learner.start: expected a folder of unimm's own to plan with, got a published layout in "
            f"{folder}; convert it first with `unimm convert`"
        )
    return read_config(folder).settings


def drawing_tokens(learner: Learner, settings: ModelSettings) -> int:
    """Return T of a row that asks for a picture, in words of the model's own tokenizer.

    Where the folder has none, a prompt is taken to be 20 tokens, under the published template.
    """
    folder = find_folder(learner.start)
    if not Path(folder, "tokenizer.json").is_file():
        return OPENING + GENERATE + PROMPT + settings.num_queries + MARKS
    return len(drawing_row(settings, load_tokenizer(folder), TYPICAL).ids)


def finetuning(learner: Learner, rows: Rows) -> Workload:
    """Return the workload of the finetune stage."""
    return on_rows(*learning_of(learner, settings_of(learner), refers=False), rows)


def preferring(recipe: PreferenceRecipe, settings: ModelSettings, tokens: int) -> Workload:
    """Return the workload of the preference stage, on rows of so many positions."""

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        step = _Step(modules, samples, tokens, precision)
        pictures = samples * recipe.noise_draws
        return {
            "pairs": step.held(step.encoded(rounds=2), 3 * pictures),  # winner, loser and noise
            **step.told(),
            **step.told_before(),
            "reference": step.judged_before(pictures, rounds=2),
            "dit": step.learned(pictures, rounds=2),
        }

    build, groups = learning_of(recipe.learner, settings, refers=True)
    return Workload(build, groups, passes, 2, tokens)


def rewarding(recipe: RewardRecipe, settings: ModelSettings, tokens: int, judged: bool = True) -> Workload:
    """Return the workload of the reward stage, on rows of so many positions.

    `judged`: whether the reward that the recipe names judges, and not a function of one's own.
    """

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        step = _Step(modules, samples, tokens, precision)
        drawn = samples * recipe.group
        pictures = drawn * recipe.noise_draws
        judging = {"judge": step.judged(recipe.reward, drawn, recipe.group)} if judged else {}
        return {
            **step.told_now(),
            "drawing": step.held(step.drawn(drawn, recipe.steps, recipe.guidance), 2 * pictures),
            **judging,
            **step.told(),
            **step.told_before(),
            "dit": step.learned(pictures),
            "reference": step.judged_before(pictures),
        }

    build, groups = learning_of(recipe.learner, settings, refers=True)
    return Workload(build, groups, passes, recipe.group, tokens)


def learning_of(
    learner: Learner, settings: ModelSettings, refers: bool
) -> tuple[Callable[[bool], Modules], Callable[[Modules], Mapping[str, Group]]]:
    """Return what builds the modules of a learner, and who learns of them.

    Args:
        learner: whose.
        settings: of the model that it starts from.
        refers: whether the model it began from is held besides, where rooms learn.
    """

    def build(again: bool) -> dict[str, nn.Module]:
        model = UniMM(UniMMConfig(settings)).train()
        if learner.llm_bits is not None:
            give_few_bits(model.llm.model, learner.llm_bits)
        learner.prepare(model, again)
        if not refers or learner.adapter is not None:
            return {"model": model}
        freeze_and_collect({"model": model}, learner.groups(model))
        return {"model": model, "reference": frozen_copy(model)}

    def groups(modules: Modules) -> dict[str, Group]:
        held = {"reference": FROZEN} if "reference" in modules else {}
        return {**learner.groups(modules["model"]), **held}

    return build, groups


class _Step:
    """The parts of a step of preference or reward, each run on shapes."""

    def __init__(self, modules: Modules, samples: int, tokens: int, precision: str):
        self.model, self.copy = modules["model"], modules.get("reference")
        self.samples, self.tokens, self.precision = samples, tokens, precision
        self.settings = self.model.config.settings

    def before(self) -> AbstractContextManager[UniMM]:
        """Inside, the yielded model is the one that training began from."""
        return as_before(self.model, self.copy)

    def held(self, one: Pass, pictures: int) -> Pass:
        """Return a pass that leaves float32 latents of so many pictures until the end of the step."""
        size = FLOAT32 * pictures * self.settings.num_latents * self.settings.dit.channels
        return one._replace(saved_bytes=size, forward_bytes=max(size, one.forward_bytes))

    def encoded(self, rounds: int) -> Pass:
        """Return the passes of pixels to latents."""
        side, rooms = self.settings.target_size, [self.model.encoder, self.model.statistics, self.model.drawn]

        def encode() -> Tensor:
            with torch.no_grad():
                return self.model.encode_target(torch.empty(self.samples, 3, side, side))

        return count_pass(encode, [room for room in rooms if room is not None], self.precision, rounds)

    def told(self) -> dict[str, Pass]:
        """Return the passes of rows to conditions, with gradients as far as anything in them learns."""
        return _telling(self.model, "", self.samples, self.tokens, self.precision)

    def told_now(self) -> dict[str, Pass]:
        """Return the same, to draw by."""
        with torch.no_grad(), quiet(self.model):
            return _telling(self.model, "drawing ", self.samples, self.tokens, self.precision)

    def told_before(self) -> dict[str, Pass]:
        """Return the same of the reference."""
        with self.before() as model:
            return _telling(model, "reference ", self.samples, self.tokens, self.precision)

    def learned(self, pictures: int, rounds: int = 1) -> Pass:
        """Return the evaluations with gradients, of so many pictures each, under the same conditions."""
        conditioned = learning(self.model)[1]
        return count_pass(
            lambda: self._errors(self.model, pictures, rounds, conditioned), self.model.dit, self.precision
        )

    def judged_before(self, pictures: int, rounds: int = 1) -> Pass:
        """Return the evaluations of the reference."""
        with self.before() as model:
            return count_pass(
                lambda: self._errors(model, pictures, 1, False), model.dit, self.precision, rounds
            )

    def drawn(self, count: int, steps: int, guidance: float | None) -> Pass:
        """Return the evaluations that draw so many pictures, at most PASS of them at a time."""
        together = _together(count)
        sampling = sampling_of(self.model, steps, guidance)

        def evaluate() -> Tensor:
            x, t, conditions = self._noised(together)
            return velocity_under(self.model, conditions, sampling)(x, t)

        with torch.no_grad(), quiet(self.model):
            return _scaled(count_pass(evaluate, self.model.dit, self.precision, steps), count, together)

    def judged(self, reward: str, count: int, group: int) -> Pass:
        """Return what judging so many drawings costs, by a row of REWARDS."""
        with self.before() as model:
            if reward not in works(1):
                return count_pass(lambda: model.decode_latents(self._latents(count)), [model], self.precision)
            together = _together(count)
            read = count_pass(lambda: self._read(model, reward, together, group), [model], self.precision)
            return _scaled(read, count, together)

    def _read(self, model: UniMM, verifier: str, count: int, group: int) -> Tensor:
        """Let the LLM read drawings for a verifier; what a prompt's drawings share is a part of each."""
        settings = self.settings
        prompt = max(1, self.tokens - settings.num_queries - OPENING - GENERATE - MARKS)
        work = works(settings.encoder.num_tokens, prompt)[verifier]
        model.projector(model.to_seen(self._latents(count)))
        positions = work.own + work.further - (-work.shared // group)
        states = llm_states(model.llm, torch.empty(count, positions, settings.llm.width))
        return model.llm.lm_head(states[:, -work.heads :].flatten(0, 1))

    def _errors(self, model: UniMM, pictures: int, rounds: int, conditioned: bool) -> list[Tensor]:
        """Return errors [B] of velocities, each round of other latents under the same conditions."""
        x, t, conditions = self._noised(pictures)
        conditions.requires_grad_(conditioned)

        def error(x: Tensor) -> Tensor:
            difference = model.velocity(x, t, conditions).float() - torch.empty_like(x)
            return difference.square().flatten(1).mean(1)

        return [error(torch.empty_like(x)) for _ in range(rounds)]

    def _noised(self, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return x [B N C], t [B] and conditions [B Q Z]."""
        dit = self.settings.dit
        told = torch.empty(pictures, dit.side**2, dit.condition_width)
        return self._latents(pictures), torch.empty(pictures), told

    def _latents(self, pictures: int) -> Tensor:
        return torch.empty(pictures, self.settings.num_latents, self.settings.dit.channels)


def _telling(model: UniMM, name: str, samples: int, tokens: int, precision: str) -> dict[str, Pass]:
    return {
        f"{name}llm": llm_pass(model, samples, tokens, precision),
        f"{name}connector": connector_pass(model, samples, precision),
    }


def _together(count: int) -> int:
    """Return how many drawings go through a room at a time."""
    return -(-count // len(list(passes(count, PASS))))


def _scaled(one: Pass, count: int, together: int) -> Pass:
    """Return a pass of `together` things with the operations of `count`."""
    return one._replace(forward_flops=one.forward_flops * count // together)
