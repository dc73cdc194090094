"""Workloads of the stages that train a generator without an LLM: by class and by text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unimm.alignment import alignment_loss
from unimm.generator import ClassGenerator, Generator, TextGenerator
from unimm.text.sd3 import TOWERS, Tokens
from unimm.training.generating import encoded
from unimm.training.plan.passes import Pass, count_pass
from unimm.training.plan.workload import Workload, dit_pass, learns
from unimm.training.recipe import Group

if TYPE_CHECKING:  # the stages count their operations by these workloads
    from unimm.training.class_conditional import ClassRecipe
    from unimm.training.text_to_image import TextRecipe

Modules = Mapping[str, nn.Module]
Groups = Callable[[Modules], Mapping[str, Group]]


def by_class(recipe: ClassRecipe, groups: Groups) -> Workload:
    """Return the workload of the class-conditional stage."""
    alignment = recipe.alignment

    def build(again: bool) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"generator": _generator(ClassGenerator, recipe, again)}
        if alignment is not None:
            projectors = alignment.projectors(recipe.generator.dit.width)
            modules |= {"projectors": projectors, "targets": alignment.unfilled()}
        return modules

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        model, drawn = modules["generator"], samples * recipe.noise_draws
        found = _latents_pass(model, recipe, samples, precision)
        if alignment is not None:
            found["targets"] = _targets_pass(modules["targets"], samples, _side(recipe), precision)
        found["dit"] = dit_pass(model.dit, drawn, False, precision)
        if alignment is not None:
            found["projectors"] = _projectors_pass(
                modules["projectors"], model.settings.dit, drawn, precision
            )
        return found

    return Workload(build, groups, passes, 1, 0)


def by_text(recipe: TextRecipe, groups: Groups) -> Workload:
    """Return the workload of the text-to-image stage; pictures are square."""
    config = recipe.generator.text

    def build(again: bool) -> dict[str, nn.Module]:
        return {"generator": _generator(TextGenerator, recipe, again)}

    def passes(modules: Modules, samples: int, precision: str) -> dict[str, Pass]:
        model, drawn = modules["generator"], samples * recipe.noise_draws
        found = _latents_pass(model, recipe, samples, precision)
        if config.towers:
            found["text"] = _text_pass(model, samples, precision)
        found["dit"] = dit_pass(model.dit, drawn, learns(model.text), precision, config.num_tokens)
        return found

    return Workload(build, groups, passes, 1, 0)


def _generator(generator_class: type[Generator], recipe: ClassRecipe | TextRecipe, again: bool) -> Generator:
    model = generator_class(recipe.generator).train()
    model.space.eval().requires_grad_(False)
    model.dit.gradient_checkpointing = again
    return model


def _side(recipe: ClassRecipe | TextRecipe) -> int:
    """Return the pixels per side of the pictures that a recipe names."""
    return (recipe.pictures or recipe.data).pixels


def _latents_pass(
    model: Generator, recipe: ClassRecipe | TextRecipe, samples: int, precision: str
) -> dict[str, Pass]:
    """Return what making latents in the step costs: nothing where a cache keeps them."""
    if recipe.latents is not None:
        return {}
    space = getattr(model.space, "encoder", model.space).config

    def encode() -> Tensor:
        return encoded(model, torch.empty(samples, 3, space.image_size, space.image_size), torch.Generator())

    return {"latents": count_pass(encode, model.space, precision)}


def _text_pass(model: TextGenerator, samples: int, precision: str) -> Pass:
    """Return what reading the prompts costs, with a way back where the towers learn."""
    config = model.settings.text

    def read() -> tuple[Tensor, Tensor]:
        ids = {
            name: torch.zeros(samples, getattr(config, name).tokens, dtype=torch.int64)
            for name in config.towers
        }
        gone = torch.zeros(samples, len(TOWERS), dtype=torch.bool)
        told = model.told(Tokens(ids, dict.fromkeys(ids, (0,) * samples), samples), gone)
        return told.sequence, told.pooled

    return count_pass(read, model.text, precision)


def _targets_pass(targets: nn.Module, samples: int, side: int, precision: str) -> Pass:
    return count_pass(lambda: targets(torch.empty(samples, 3, side, side)), targets, precision)


def _projectors_pass(projectors: nn.Module, body: object, drawn: int, precision: str) -> Pass:
    """Return what projecting hidden states and holding them against the targets costs."""

    def align() -> list[Tensor]:
        projected = projectors(torch.empty(drawn, body.side**2, body.width, requires_grad=True))
        return [alignment_loss([ours], [torch.empty_like(ours)]) for ours in projected]

    return count_pass(align, projectors, precision)
