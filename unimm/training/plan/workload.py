"""What a stage computes for one micro-batch: its modules made of shapes, and their passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unimm.dit.mmdit import TextConditions
from unimm.llm.decoding import llm_states
from unimm.llm.head import CHUNK_NUMBERS
from unimm.model.config import ModelSettings, UniMMConfig
from unimm.model.unimm import UniMM
from unimm.training.examples import TEXT_TOKENS, example
from unimm.training.plan.passes import Pass, count_pass
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

    return on_rows(build, lambda modules: groups(modules["model"]), rows)


def on_rows(
    build: Callable[[bool], Mapping[str, nn.Module]],
    groups: Callable[[Mapping[str, nn.Module]], Mapping[str, Group]],
    rows: Rows,
) -> Workload:
    """Return the workload of a stage that trains the module "model", a UniMM, on rows."""

    def passes(modules: Mapping[str, nn.Module], samples: int, precision: str) -> dict[str, Pass]:
        model = modules["model"]
        pictures = -int(-samples * rows.drawn // 1)
        said, conditioned = learning(model)
        return {
            "llm": llm_pass(model, samples, rows.tokens, precision),
            "head": _head_pass(model.llm, samples * rows.tokens, said, precision),
            "connector": connector_pass(model, pictures, precision),
            "dit": dit_pass(model.dit, pictures * rows.noise_draws, conditioned, precision),
        }

    return Workload(build, groups, passes, rows.drawn, rows.tokens)


def llm_pass(model: UniMM, samples: int, tokens: int, precision: str) -> Pass:
    """Return what reading costs: rows of so many positions each."""
    shape = (samples, tokens, model.config.settings.llm.width)
    told = learns(model.projector, model.queries, model.llm.get_input_embeddings())

    def read() -> Tensor:
        return llm_states(model.llm, torch.empty(shape, requires_grad=told))

    return count_pass(read, model.llm.model, precision)


def connector_pass(model: UniMM, pictures: int, precision: str) -> Pass:
    """Return what the conditions of so many pictures cost, given the LLM's states."""
    settings, (read, _) = model.config.settings, learning(model)

    def intend() -> Tensor:
        states = torch.empty(pictures, settings.num_queries, settings.llm.width, requires_grad=read)
        return model.connector(states)

    return count_pass(intend, model.connector, precision)


def dit_pass(
    dit: nn.Module, pictures: int, conditioned: bool, precision: str, text_tokens: int = TEXT_TOKENS
) -> Pass:
    """Return what one evaluation of so many pictures costs.

    Args:
        dit: a body.
        pictures: each with its own noise and time.
        conditioned: whether what it is told by learns.
        precision: see `count_pass`.
        text_tokens: L that a body by text reads.
    """
    if not pictures:
        return Pass()

    def velocity() -> Tensor:
        given = example(dit.config, pictures, "cpu", text_tokens)
        told = given.conditions
        for x in (told.sequence, told.pooled) if isinstance(told, TextConditions) else [told]:
            x.requires_grad_(conditioned and x.is_floating_point())
        return dit(*given.arguments)

    return count_pass(velocity, dit, precision)


def learns(*modules: nn.Module) -> bool:
    """Return whether anything in the modules learns."""
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def learning(model: UniMM) -> tuple[bool, bool]:
    """Return whether the LLM's states need gradients, and whether the DiT's conditions do."""
    read = learns(model.projector, model.queries, model.llm.model)
    return read, read or learns(model.connector)


def _head_pass(llm: nn.Module, tokens: int, told: bool, precision: str) -> Pass:
    """Return what the vocabulary's cross entropy costs, if every position has a label.

    It goes through chunks of logits one by one, so a few are counted, and from there on as many more as there
    are tokens.
    """
    rows, width = llm.lm_head.weight.shape
    few = 2 * max(1, CHUNK_NUMBERS // rows)

    def counted(count: int) -> Pass:
        def entropy() -> Tensor:
            states = torch.empty(count, width, requires_grad=told)
            return llm.lm_head(states, torch.zeros(count, dtype=torch.int64))

        return count_pass(entropy, llm.lm_head, precision)

    if tokens <= 2 * few:
        return counted(tokens)
    once, twice = counted(few), counted(2 * few)
    return Pass(*(one + (two - one) * (tokens - few) // few for one, two in zip(once, twice, strict=True)))
