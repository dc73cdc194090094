"""AdamW whose state lies in buffers: a module that trains itself inside a stage is saved with its weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unimm.training.optim import lr_factor
from unimm.training.recipe import OptimRecipe

_MOMENTS = ("exp_avg", "exp_avg_sq")


class OwnAdamW(nn.Module):
    """The second optimiser of a stage, with its own rate and schedule, counted in its own updates.

    Every checkpoint of the stage holds it, as it holds the weights, whatever the engine is.

    Args:
        parameters: what it trains; the stage's groups freeze them, so that the engine leaves them alone.
        optim: rate, schedule, betas, decay and clipping. Muon's momentum means nothing here.
        num_updates: how many there will be; where the fall of the rate ends unless optim says otherwise.
    """

    def __init__(self, parameters: list[nn.Parameter], optim: OptimRecipe, num_updates: int):
        super().__init__()
        self.parameters_of, self.optim, self.num_updates = tuple(parameters), optim, num_updates
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        for index, parameter in enumerate(self.parameters_of):
            for name in _MOMENTS:
                self.register_buffer(f"{name}_{index}", torch.zeros_like(parameter, requires_grad=False))

    def factor(self) -> float:
        """Return the fraction of the peak rate that the next update uses."""
        return lr_factor(int(self.updates), self.num_updates, self.optim)

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> Tensor:
        """Update every parameter; return the gradient's norm before clipping."""
        for parameter, gradient in zip(self.parameters_of, gradients, strict=True):
            parameter.grad = gradient
        clip = math.inf if self.optim.clip is None else self.optim.clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters_of, clip)
        adamw = self._bound()
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        self.updates += 1
        return norm

    def _bound(self) -> torch.optim.AdamW:
        """Return torch's AdamW over the buffers as they now are: moving a module makes new ones."""
        optim = self.optim
        groups = [
            {"params": [p for p in self.parameters_of if p.ndim >= 2], "weight_decay": optim.weight_decay},
            {"params": [p for p in self.parameters_of if p.ndim < 2], "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=optim.lr * self.factor(), betas=optim.betas, eps=optim.eps, fused=True,
        )  # fmt: skip
        done = self.updates.to(torch.float32)
        for index, parameter in enumerate(self.parameters_of):
            moments = {name: getattr(self, f"{name}_{index}") for name in _MOMENTS}
            adamw.state[parameter] = {"step": done.clone(), **moments}
        return adamw
