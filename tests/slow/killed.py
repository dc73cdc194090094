"""Trains the toy stage slowly enough to be killed. `python killed.py OUTPUT NUM_STEPS SECONDS_PER_STEP`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.toy import ToyStage, toy_recipe  # noqa: E402
from unimm.training.loop import train  # noqa: E402


class SlowStage(ToyStage):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def step(self, batch, generator):
        time.sleep(self.seconds)
        return super().step(batch, generator)


if __name__ == "__main__":
    torch.set_num_threads(1)
    output, num_steps, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    train(toy_recipe(output, num_steps, checkpoint_every=2), SlowStage(seconds))
