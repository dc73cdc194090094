"""An exponential moving average of the parameters that train, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from unimm.training.optim import Member
from unimm.training.pieces import Piece
from unimm.training.sharding import as_whole, own_piece

Schedule = Callable[[int, float], float]
"""`schedule(n, decay)`: the decay of the update that n others came before."""


def early(n: int, decay: float) -> float:
    """Return min(decay, (1 + n) / (10 + n)): the average soon forgets the initial weights."""
    return min(decay, (1 + n) / (10 + n))


def constant(n: int, decay: float) -> float:
    """Return decay, as RAE, LightningDiT and REPA average."""
    return decay


def diffusers(n: int, decay: float, after: int = 0) -> float:
    """Return diffusers' decay: `early`, but copying the weights up to update `after` and at the next."""
    return 0.0 if n <= after else early(n - after, decay)


def diffusers_warmup(n: int, decay: float, after: int = 0, gamma: float = 1.0, power: float = 2 / 3) -> float:
    """Return min(decay, 1 - (1 + n / gamma)^-power), copying as `diffusers` (its `use_ema_warmup`)."""
    return 0.0 if n <= after else min(decay, 1 - (1 + (n - after) / gamma) ** -power)


SCHEDULES: dict[str, Schedule] = {"constant": constant, "early": early, "power": diffusers_warmup}
"""The names that a recipe gives them."""


class EMA:
    """Averages of the training parameters; frozen ones need none.

    Under ZeRO-3 a process averages the numbers that it holds, and no others. By default the first updates use
    a smaller decay, `(1 + n) / (10 + n)`, so that the average forgets the initial weights.
    """

    def __init__(self, members: list[Member], decay: float, schedule: Schedule = early):
        self.members, self.decay, self.schedule, self.num_updates = members, decay, schedule, 0
        self.averages = [piece.values.float().clone() for piece in self._live()]

    def _live(self) -> list[Piece]:
        """Return the numbers that train, as they are now."""
        return [own_piece(member.name, member.parameter) for member in self.members]

    @torch.no_grad()
    def update(self) -> None:
        decay = self.schedule(self.num_updates, self.decay)
        torch._foreach_lerp_(self.averages, [piece.values.float() for piece in self._live()], 1 - decay)
        self.num_updates += 1

    @contextmanager
    @torch.no_grad()
    def swapped(self) -> Iterator[None]:
        """Inside, the modules hold the averages; afterwards, exactly what they held before.

        Of sharded parameters these are the parts: whoever gathered them must do so again, inside and after.
        """
        live = [piece.values for piece in self._live()]
        kept = [x.clone() for x in live]
        torch._foreach_copy_(live, self.averages)
        try:
            yield
        finally:
            torch._foreach_copy_([piece.values for piece in self._live()], kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return what has the shapes and the dtype of the whole averages."""
        shapes = {member.name: as_whole(member.parameter).shape for member in self.members}
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}

    def pieces(self) -> list[Piece]:
        """Return what this process holds of the averages."""
        live = self._live()
        return [replace(piece, values=x) for piece, x in zip(live, self.averages, strict=True)]
