"""Run under torchrun: train the toy stage. `ranks.py OUTPUT ZERO_STAGE NUM_STEPS [key=value]`.

Keys are whole numbers of the recipe; `stop_after=N` asks to stop during step N, `largest_file=N` fills
the disk of rank 1.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.toy import ToyStage, toy_recipe  # noqa: E402
from unimm.training.loop import train  # noqa: E402
from unimm.training.recipe import DeepSpeedRecipe  # noqa: E402


class StoppedStage(ToyStage):
    """On rank 1, asks its own process to stop during one step: all ranks must stop together."""

    def __init__(self, stop_after: int):
        super().__init__()
        self.left = stop_after if os.environ["RANK"] == "1" else 0

    def step(self, batch, generator):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(batch, generator)


def main(output: str, zero_stage: int, num_steps: int, changes: dict[str, int]) -> None:
    torch.set_num_threads(1)
    stop_after, largest_file = changes.pop("stop_after", 0), changes.pop("largest_file", 0)
    if largest_file and os.environ["RANK"] == "1":
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    average = {"ema_decay": None} if zero_stage == 3 else {}
    deepspeed = DeepSpeedRecipe(zero_stage=zero_stage)
    recipe = toy_recipe(output, num_steps, device="cpu", deepspeed=deepspeed, **average, **changes)
    train(recipe, StoppedStage(stop_after))


if __name__ == "__main__":
    pairs = (item.split("=") for item in sys.argv[4:])
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), {key: int(value) for key, value in pairs})
