"""A stage small enough to be trained in milliseconds, with noise, dropout, a frozen part and tied weights."""

from __future__ import annotations

import torch
from torch import nn

from unimm.training.recipe import FROZEN, Group, OptimRecipe, TrainRecipe


class ToyStage:
    """Learn to reverse eight numbers through noise."""

    def __init__(self, dropout: float = 0.1, groups=None):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 32), nn.Dropout(dropout), nn.GELU(), nn.Linear(32, 8))
        base = nn.Linear(8, 8)
        self.modules = {"net": net, "base": base}
        self.groups = groups or {"net": Group(), "base": FROZEN}
        self.sampled: list[int] = []

    def batch(self, start: int, count: int) -> dict[str, torch.Tensor]:
        rows = [
            torch.randn(8, generator=torch.Generator().manual_seed(i)) for i in range(start, start + count)
        ]
        return {"x": torch.stack(rows)}

    def step(self, batch, generator) -> dict[str, torch.Tensor]:
        x = batch["x"]
        noise = 0.1 * torch.randn(x.shape, generator=generator, device=x.device)
        error = self.modules["net"](self.modules["base"](x) + noise) - x.flip(-1)
        return {"loss": error.square().mean(), "absolute": error.abs().mean()}

    def sample(self, folder, step) -> None:
        self.sampled.append(step)
        (folder / f"{step:08d}.txt").write_text("picture")


def toy_recipe(output, num_steps: int = 12, **changes) -> TrainRecipe:
    optim = changes.pop("optim", OptimRecipe(lr=1e-2, warmup_steps=3, schedule="cosine", weight_decay=0.01))
    settings = {
        "batch_size": 16,
        "log_every": 3,
        "checkpoint_every": 4,
        "ema_decay": 0.9,
        "precision": "float32",
    }
    return TrainRecipe(output=str(output), num_steps=num_steps, optim=optim, **{**settings, **changes})
