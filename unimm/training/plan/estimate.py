"""The estimate: kept bytes and passes joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

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
from unimm.training.recipe import TrainRecipe

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
    peak = 1e12 * device.peak.at(recipe.precision)
    seconds = worked / (gpus * peak * assumed.utilisation)
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
