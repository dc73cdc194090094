"""What the stages have in common that learn to show pictures again: decoder and vae."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from unimm.training.picture_losses import begun_operations
from unimm.training.picture_stream import PictureStream
from unimm.training.plan.estimate import operations_by_room
from unimm.training.plan.workload import Workload


class ReconstructionStage(ABC):
    """Pictures in; their reconstructions are held against them by the module "losses", a `PictureCritic`."""

    stream: PictureStream
    modules: Mapping[str, nn.Module]

    @abstractmethod
    def workload(self) -> Workload:
        """Return what a step computes."""

    @abstractmethod
    def fresh(
        self, seen: list[tuple[Tensor, torch.Generator]]
    ) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """Yield micro-batches with what the network, just updated, makes of them, without gradients."""

    def batch(self, start: int, count: int) -> Tensor:
        return self.stream.at(start, count)

    def amounts(self, batch: Tensor) -> Mapping[str, float]:
        return {"images": len(batch)}

    def flops(self, batch: Tensor) -> float:
        return len(batch) * begun_operations(self._operations, self.modules["losses"])

    @cached_property
    def _operations(self) -> Mapping[str, int]:
        return operations_by_room(self.workload(), 1)

    def after_update(self, seen: list[tuple[Tensor, torch.Generator]]) -> dict[str, Tensor]:
        """Train the discriminator on fresh reconstructions."""
        return self.modules["losses"].after_update(self.fresh(seen))
