"""What a stage computes for one micro-batch: its modules made of shapes, and their passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unimm.llm.decoding import llm_states
from unimm.llm.head import CHUNK_NUMBERS
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.unimm import UniMM
from unimm.training.examples import example
from unimm.training.plan.passes import Pass, count_pass
from unimm.training.plan.states import FLOAT32, element_bytes
from unimm.training.recipe import Group


@dataclass(frozen=True)
class Workload:
    """One stage. Its functions are called inside the mode in which tensors are shapes."""

    build: Callable[[bool], Mapping[str, nn.Module]]
    """Makes the stage's modules; whether blocks are computed again for gradients."""
    groups: Callable[[Mapping[str, nn.Module]], Mapping[str, Group]]
    passes: Callable[[Mapping[str, nn.Module], int, str], dict[str, Pass]]
    """`passes(modules, samples, precision)`, by room."""
    images_per_sample: float
    """Pictures that a sample draws."""
    tokens_per_sample: int
    """Positions that the language model reads for a sample, 0 without one."""


@dataclass(frozen=True)
class Rows:
    """Rows of a UniMM stage."""

    tokens: int
    """T positions of every row, pictures included."""
    drawn: float
    """Pictures to draw in a row."""
    noise_draws: int
    """Noise and time draws for each picture to draw."""


def talking(settings: ModelSettings, rows: Rows, groups: Callable[[UniMM], Mapping[str, Group]]) -> Workload:
    """Return the workload of a stage that trains a UniMM on rows."""

    def build(again: bool) -> dict[str, nn.Module]:
        model = UniMM(UniMMConfig(settings)).train()
        if again:
            model.compute_again()
        return {"model": model}

    def passes(modules: Mapping[str, nn.Module], samples: int, precision: str) -> dict[str, Pass]:
        model = modules["model"]
        return {
            "llm": _llm_pass(model, samples, rows, precision),
            "head": _head_pass(model, samples * rows.tokens, precision),
            "dit": _dit_pass(model.dit, -int(-samples * rows.drawn // 1) * rows.noise_draws, precision),
        }

    return Workload(build, lambda modules: groups(modules["model"]), passes, rows.drawn, rows.tokens)


def drawing(
    build: Callable[[bool], Mapping[str, nn.Module]],
    groups: Callable[[Mapping[str, nn.Module]], Mapping[str, Group]],
    noise_draws: int,
) -> Workload:
    """Return the workload of a stage that trains a generator without an LLM, the module "generator"."""

    def passes(modules: Mapping[str, nn.Module], samples: int, precision: str) -> dict[str, Pass]:
        return {"dit": _dit_pass(modules["generator"].dit, samples * noise_draws, precision)}

    return Workload(build, groups, passes, 1, 0)


def _llm_pass(model: UniMM, samples: int, rows: Rows, precision: str) -> Pass:
    width = model.config.settings.llm.width
    embeds = torch.empty(samples, rows.tokens, width, requires_grad=True)
    return count_pass(lambda: llm_states(model.llm, embeds), list(model.llm.parameters()), precision)


def _head_pass(model: UniMM, tokens: int, precision: str) -> Pass:
    """Return what the vocabulary's cross entropy costs (unimm.llm.head).

    All its gradients are made on the way forward: the weight's and the states' are kept, a chunk of logits
    and the weight in the compute dtype stand beside them.
    """
    rows, width = model.llm.lm_head.weight.shape
    cast = element_bytes(precision) * rows * width if precision == "bf16" else 0
    chunk = min(CHUNK_NUMBERS, tokens * rows)
    return Pass(
        FLOAT32 * (rows * width + tokens * width),
        2 * tokens * rows * width,
        transient_bytes=cast + FLOAT32 * chunk,
    )


def _dit_pass(dit: nn.Module, pictures: int, precision: str) -> Pass:
    if not pictures:
        return Pass(0, 0)
    given = example(dit.config, pictures, "cpu")
    conditions: Any = given.conditions
    if isinstance(conditions, torch.Tensor) and conditions.is_floating_point():
        conditions.requires_grad_()
    return count_pass(lambda: dit(given.x, given.t, conditions), list(dit.parameters()), precision)
