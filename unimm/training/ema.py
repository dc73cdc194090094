"""An exponential moving average of the parameters that train, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from unimm.training.optim import Member

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


class EMA:
    """Averages of the training parameters; frozen ones need none.

    By default the first updates use a smaller decay, `(1 + n) / (10 + n)`, so that the average forgets the
    initial weights.
    """

    def __init__(self, members: list[Member], decay: float, schedule: Schedule = early):
        self.decay, self.schedule, self.num_updates = decay, schedule, 0
        self.parameters = [member.parameter for member in members]
        self.names = [member.name for member in members]
        self.averages = [p.detach().float().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        decay = self.schedule(self.num_updates, self.decay)
        torch._foreach_lerp_(self.averages, [p.detach().float() for p in self.parameters], 1 - decay)
        self.num_updates += 1

    @contextmanager
    @torch.no_grad()
    def swapped(self) -> Iterator[None]:
        """Inside, the modules hold the averages; afterwards, exactly what they held before."""
        kept = [p.detach().clone() for p in self.parameters]
        torch._foreach_copy_([p.detach() for p in self.parameters], self.averages)
        try:
            yield
        finally:
            torch._foreach_copy_([p.detach() for p in self.parameters], kept)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.averages, strict=True))

    def load_state_dict(self, state: dict[str, Tensor], num_updates: int) -> None:
        """Take saved averages.

        Raises:
            ValueError: a name is missing or unexpected, or a shape differs.
        """
        missing, extra = sorted(set(self.names) - set(state)), sorted(set(state) - set(self.names))
        if missing or extra:
            raise ValueError(f"EMA: missing {missing or 'nothing'}, unexpected {extra or 'nothing'}")
        for name, average in zip(self.names, self.averages, strict=True):
            if average.shape != state[name].shape:
                raise ValueError(
                    f"EMA {name}: expected shape {tuple(average.shape)}, got {tuple(state[name].shape)}"
                )
            average.copy_(state[name])
        self.num_updates = num_updates
