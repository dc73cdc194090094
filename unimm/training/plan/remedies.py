"""What to change where a run does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any, Protocol

from unimm.training.plan.estimate import Estimate, estimate, micro_batch
from unimm.training.plan.hardware import Assumptions, Device
from unimm.training.plan.workload import Workload
from unimm.training.recipe import DeepSpeedRecipe, TrainRecipe


class Run(Protocol):
    """What can be estimated."""

    recipe: Any
    """With the loop's recipe as its `train`."""
    workload: Workload
    again: bool


def again_key(recipe: Any) -> str | None:
    """Return the dotted key by which blocks are computed again; None where a stage has no such setting."""
    name = "gradient_checkpointing"
    places = {name: recipe, f"learner.{name}": getattr(recipe, "learner", None)}
    return next((key for key, place in places.items() if hasattr(place, name)), None)


def computes_again(recipe: Any) -> bool:
    """Return whether a recipe has blocks computed again for gradients."""
    key = again_key(recipe)
    return key is not None and attrgetter(key)(recipe)


def remedies(run: Run, gpus: int, device: Device, assumed: Assumptions) -> list[tuple[str, Estimate]]:
    """Return changes that make a run fit, each alone; or, where none does, the first few that do together.

    What training would refuse is left out: Muon under DeepSpeed, weights in pieces beside an adversary.
    """

    def tried(recipe: TrainRecipe, again: bool) -> Estimate | None:
        try:
            replace(run.recipe, train=recipe)
            return estimate(run.workload, recipe, gpus, device, assumed, again)
        except ValueError:
            return None

    first = run.recipe.train
    changes = changes_of(first, gpus, run.again, again_key(run.recipe))
    alone = [(change, found) for change in changes if (found := tried(*change[1:]))]
    if fitting := [(change[0], found) for change, found in alone if found.fits]:
        return fitting
    recipe, again = first, run.again
    for (_, changed, repeats), _ in alone:
        together = merged(recipe, changed, first)
        if found := tried(together, again or repeats):
            recipe, again = together, again or repeats
            if found.fits:
                said = [f"{again_key(run.recipe)}=true"] if again and not run.again else []
                return [(" ".join([*said, *_written(first, recipe)]), found)]
    return []


def changes_of(
    recipe: TrainRecipe, gpus: int, again: bool, key: str | None
) -> Iterator[tuple[str, TrainRecipe, bool]]:
    """Yield changes, the mildest first: (as it is written, the recipe, whether blocks are computed again).

    Args:
        recipe: to change.
        gpus: over all hosts.
        again: whether blocks are computed again already.
        key: see `again_key`.
    """
    if key is not None and not again:
        yield f"{key}=true", recipe, True
    micro = micro_batch(recipe, gpus)
    if micro > 1:
        number = recipe.accumulation * micro
        yield f"train.accumulation={number}", replace(recipe, accumulation=number), again
    deepspeed = recipe.deepspeed or DeepSpeedRecipe(zero_stage=0)
    for stage in range(deepspeed.zero_stage + 1, 4) if gpus > 1 else ():
        yield *_sharded(recipe, zero_stage=stage), again
    if not deepspeed.offload_optimizer:
        yield *_sharded(recipe, offload_optimizer=True, zero_stage=max(1, deepspeed.zero_stage)), again
    if not deepspeed.offload_parameters:
        yield *_sharded(recipe, offload_parameters=True, zero_stage=3), again


def _sharded(recipe: TrainRecipe, **changes: bool | int) -> tuple[str, TrainRecipe]:
    """Return changes of the DeepSpeed section as they are written, and the recipe with them."""
    after = replace(recipe.deepspeed or DeepSpeedRecipe(zero_stage=0), **changes)
    changed = replace(recipe, deepspeed=after, compile=recipe.compile and after.zero_stage < 3)
    return " ".join(_written(recipe, changed)), changed


def _written(first: TrainRecipe, changed: TrainRecipe) -> list[str]:
    """Return what changed of a recipe, each key once."""
    said = []
    if changed.accumulation != first.accumulation:
        said.append(f"train.accumulation={changed.accumulation}")
    before, after = (one.deepspeed or DeepSpeedRecipe(zero_stage=0) for one in (first, changed))
    said += [
        f"train.deepspeed.{name}={str(getattr(after, name)).lower()}"
        for name in ("offload_optimizer", "offload_parameters", "zero_stage")
        if getattr(after, name) != getattr(before, name)
    ]
    if changed.compile != first.compile:
        said.append("train.compile=false")
    return said


def merged(so_far: TrainRecipe, changed: TrainRecipe, first: TrainRecipe) -> TrainRecipe:
    """Return the recipe so far with what `changed` changed of the first."""
    if changed.accumulation != first.accumulation:
        so_far = replace(so_far, accumulation=changed.accumulation)
    if changed.deepspeed == first.deepspeed:
        return so_far
    before, after = so_far.deepspeed or DeepSpeedRecipe(zero_stage=0), changed.deepspeed
    deepspeed = replace(
        after,
        zero_stage=max(after.zero_stage, before.zero_stage),
        offload_optimizer=after.offload_optimizer or before.offload_optimizer,
        offload_parameters=after.offload_parameters or before.offload_parameters,
    )
    return replace(so_far, deepspeed=deepspeed, compile=so_far.compile and changed.compile)
