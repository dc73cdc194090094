"""The estimate: kept bytes and passes joined; what to change where it does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from unimm.latents.encoders.positions import resample_anew
from unimm.training.optim import freeze_and_collect, refuse_muon
from unimm.training.plan.bits import num_weights
from unimm.training.plan.hardware import Assumptions, Device
from unimm.training.plan.passes import Pass, peak_bytes, with_gradients
from unimm.training.plan.states import Kept, kept, largest_gathered
from unimm.training.plan.workload import Workload
from unimm.training.recipe import DeepSpeedRecipe, TrainRecipe

SECONDS_PER_DAY = 86_400
PROCESS_BYTES = 3 * 2**30
"""Of host memory for Python, torch, CUDA's libraries and batches under way, per rank."""


@dataclass(frozen=True)
class Estimate:
    """What a run needs. Bytes are of one device, or of one host."""

    gpus: int
    micro_batch: int
    """Samples of one forward pass on one device."""
    trained: int
    """Parameters that learn."""
    frozen: int
    device_bytes: dict[str, int]
    host_bytes: dict[str, int]
    step_flops: int
    """Of one update over all devices: forward and backward, nothing computed twice counted twice."""
    step_seconds: float
    images_per_second: float
    tokens_per_second: float
    days: float
    tokens: int
    """That the language model reads in the whole run."""
    device_capacity: int
    host_capacity: int | None

    @property
    def device_total(self) -> int:
        """Bytes on a device at the peak."""
        return sum(self.device_bytes.values())

    @property
    def host_total(self) -> int:
        """Bytes on a host."""
        return sum(self.host_bytes.values())

    @property
    def fits(self) -> bool:
        """Whether devices and hosts, where these are known, hold it."""
        on_host = self.host_capacity is None or self.host_total <= self.host_capacity
        return self.device_total <= self.device_capacity and on_host


def estimate(
    workload: Workload,
    recipe: TrainRecipe,
    gpus: int,
    device: Device,
    assumed: Assumptions = Assumptions(),  # noqa: B008 (frozen)
    again: bool = False,
) -> Estimate:
    """Return what a run needs on so many devices.

    Args:
        workload: the stage's.
        recipe: batch, accumulation, precision, DeepSpeed, averages.
        gpus: devices over all hosts.
        device: each of them.
        assumed: what cannot be counted.
        again: whether blocks are computed again for gradients.

    Raises:
        ValueError: a batch that does not divide over the devices, several devices without DeepSpeed, or Muon
            with it.
    """
    micro = micro_batch(recipe, gpus)
    in_place = recipe.accumulation > 1 or _zero(recipe) > 0
    with shaped(workload, again) as modules:
        members = freeze_and_collect(modules, workload.groups(modules))
        if recipe.deepspeed is not None:
            refuse_muon(members)
        keeps = kept(list(modules.values()), members, recipe, gpus)
        gathered = largest_gathered(list(modules.values())) if _zero(recipe) == 3 else 0
        with with_gradients(member.parameter for member in members) if in_place else nullcontext():
            passes = workload.passes(modules, micro, recipe.precision)
        every = num_weights(modules.values())
    trained = sum(member.parameter.numel() for member in members)
    in_all = gpus * recipe.accumulation
    worked = in_all * sum(one.flops for one in passes.values())
    flops = in_all * operations(workload, micro, recipe.precision) if again else worked
    seconds = worked / (gpus * device.peak_flops * assumed.utilisation)
    on_device = _on_device(keeps, passes, in_place, gathered, assumed)
    return Estimate(
        gpus=gpus,
        micro_batch=micro,
        trained=trained,
        frozen=every - trained,
        device_bytes=on_device,
        host_bytes=_on_host(keeps, gpus, assumed),
        step_flops=flops,
        step_seconds=seconds,
        images_per_second=recipe.batch_size * workload.images_per_sample / seconds,
        tokens_per_second=recipe.batch_size * workload.tokens_per_sample / seconds,
        days=recipe.num_steps * seconds / SECONDS_PER_DAY,
        tokens=recipe.num_steps * recipe.batch_size * workload.tokens_per_sample,
        device_capacity=device.memory_bytes,
        host_capacity=assumed.host_bytes,
    )


def operations(workload: Workload, samples: int, precision: str = "float32") -> int:
    """Return the operations of a micro-batch, forward and backward, where nothing is computed again."""
    return sum(operations_by_room(workload, samples, precision).values())


def operations_by_room(workload: Workload, samples: int, precision: str = "float32") -> dict[str, int]:
    """Return the `operations` of each room."""
    with shaped(workload, again=False) as modules:
        freeze_and_collect(modules, workload.groups(modules))
        return {room: one.flops for room, one in workload.passes(modules, samples, precision).items()}


@contextmanager
def shaped(workload: Workload, again: bool) -> Iterator[Mapping[str, nn.Module]]:
    """Yield a stage's modules, made of shapes; inside, all tensors are."""
    with torch.device("meta"):
        modules = workload.build(again)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _take_shape(modules)
        yield modules


def micro_batch(recipe: TrainRecipe, gpus: int) -> int:
    """Return the samples of one forward pass on one device.

    Raises:
        ValueError: it is no whole number, or several devices have no engine.
    """
    if gpus < 1:
        raise ValueError(f"--gpus: expected 1 or more, got {gpus}")
    if gpus > 1 and recipe.deepspeed is None:
        raise ValueError(
            f"train.deepspeed: expected a ZeRO stage for {gpus} GPUs, got none; "
            "add train.deepspeed.zero_stage=2"
        )
    return recipe.micro_batch(gpus)


class Run(Protocol):
    """What can be estimated."""

    recipe: Any
    """With the loop's recipe as its `train`."""
    workload: Workload
    again: bool


AGAIN = "gradient_checkpointing"
"""The setting by which blocks are computed again for gradients."""


def key_of(recipe: Any, name: str) -> str | None:
    """Return the dotted key of a setting, the recipe's own or its learner's; None where neither has it."""
    places = {name: recipe, f"learner.{name}": getattr(recipe, "learner", None)}
    return next((key for key, place in places.items() if hasattr(place, name)), None)


def setting(recipe: Any, name: str, without: Any) -> Any:
    """Return what a recipe has under `key_of`, or what holds without such a setting."""
    key = key_of(recipe, name)
    return without if key is None else attrgetter(key)(recipe)


def remedies(run: Run, gpus: int, device: Device, assumed: Assumptions) -> list[tuple[str, Estimate]]:
    """Return changes that make a run fit, each alone; or, where none does, the first few that do together."""

    def tried(recipe: TrainRecipe, again: bool) -> Estimate:
        return estimate(run.workload, recipe, gpus, device, assumed, again)

    first = run.recipe.train
    shardable = setting(run.recipe, "matrices", "adamw") == "adamw"
    changes = list(changes_of(first, gpus, run.again, shardable, key_of(run.recipe, AGAIN)))
    alone = [(said, tried(changed, repeats)) for said, changed, repeats in changes]
    if fitting := [(said, found) for said, found in alone if found.fits]:
        return fitting
    recipe, again, told = first, run.again, []
    for said, changed, repeats in changes:
        recipe, again = merged(recipe, changed, first), again or repeats
        told.append(said)
        found = tried(recipe, again)
        if found.fits:
            return [(" ".join(told), found)]
    return []


def changes_of(
    recipe: TrainRecipe, gpus: int, again: bool, shardable: bool, again_key: str | None = None
) -> Iterator[tuple[str, TrainRecipe, bool]]:
    """Yield changes, the mildest first: (as it is written, the recipe, whether blocks are computed again).

    Muon, which DeepSpeed does not take, is not shardable. The key has blocks computed again; None where the
    stage has no such setting.
    """
    if again_key is not None and not again:
        yield f"{again_key}=true", recipe, True
    micro = micro_batch(recipe, gpus)
    if micro > 1:
        number = recipe.accumulation * micro
        yield f"train.accumulation={number}", replace(recipe, accumulation=number), again
    deepspeed = recipe.deepspeed or DeepSpeedRecipe(zero_stage=0)
    for stage in range(deepspeed.zero_stage + 1, 4) if gpus > 1 else ():
        yield *_sharded(recipe, zero_stage=stage), again
    if not shardable:
        return
    if not deepspeed.offload_optimizer:
        yield *_sharded(recipe, offload_optimizer=True, zero_stage=max(1, deepspeed.zero_stage)), again
    if not deepspeed.offload_parameters:
        yield *_sharded(recipe, offload_parameters=True, zero_stage=3), again


def _sharded(recipe: TrainRecipe, **changes: bool | int) -> tuple[str, TrainRecipe]:
    """Return changes of the DeepSpeed section as they are written, and the recipe with them."""
    before = recipe.deepspeed or DeepSpeedRecipe(zero_stage=0)
    after = replace(before, **changes)
    compiles = recipe.compile and after.zero_stage < 3
    said = [
        f"train.deepspeed.{name}={str(value).lower()}"
        for name, value in changes.items()
        if value != getattr(before, name)
    ]
    if compiles != recipe.compile:
        said.append("train.compile=false")
    return " ".join(said), replace(recipe, deepspeed=after, compile=compiles)


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


def _take_shape(modules: Mapping[str, nn.Module]) -> None:
    """Replace what modules hold by fake CPU tensors; they were built on "meta", which initialises nothing.

    What modules share they share afterwards.
    """
    _shape = cache(_shape_of)
    for root in modules.values():
        for module in root.modules():
            resample_anew(module)
            for tensors in (module._parameters, module._buffers):
                tensors.update({name: _shape(x) for name, x in tensors.items() if x is not None})
        if isinstance(root, PreTrainedModel):
            root.tie_weights()


def _shape_of(x: Tensor) -> Tensor:
    fake = torch.empty(x.shape, dtype=x.dtype)
    return nn.Parameter(fake, x.requires_grad) if isinstance(x, nn.Parameter) else fake


def _zero(recipe: TrainRecipe) -> int:
    return recipe.deepspeed.zero_stage if recipe.deepspeed is not None else 0


def _on_device(
    keeps: Kept, passes: dict[str, Pass], in_place: bool, gathered: int, assumed: Assumptions
) -> dict[str, int]:
    found = dict(keeps.device)
    gradients = found.pop("gradients")
    found |= {f"activations: {room}": one.saved_bytes for room, one in passes.items() if one.saved_bytes}
    saved = sum(one.saved_bytes for one in passes.values())
    if in_place:
        found["gradients"] = gradients
    found["work"] = peak_bytes(list(passes.values())) - saved  # gradients that come and go among it
    if gathered:
        found["gathered weights"] = gathered
    found["slack"] = round(assumed.slack * sum(found.values()))
    found["context"] = assumed.context_bytes
    return found


def _on_host(keeps: Kept, gpus: int, assumed: Assumptions) -> dict[str, int]:
    ranks = min(gpus, assumed.devices_per_host)
    found = {name: ranks * size for name, size in keeps.host.items()}
    found["processes"] = ranks * PROCESS_BYTES
    return found
