"""Run under torchrun: two steps of the joint stage under ZeRO-3. `joint_ranks.py FOLDER OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.road import joint_recipe  # noqa: E402
from unimm.training.joint import JointStage  # noqa: E402
from unimm.training.loop import train  # noqa: E402


def main(folder: Path, output: str) -> None:
    torch.set_num_threads(1)
    sharded = {"deepspeed": {"zero_stage": 3}, "device": "cpu", "output": output}
    recipe = joint_recipe(folder, matrices="adamw", **sharded)
    torch.manual_seed(0)  # both ranks, and the process they are compared with, start from the same weights
    train(recipe.train, JointStage(recipe), recipe)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
