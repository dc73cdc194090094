"""Run under a launcher: train the toy stage. `ranks.py OUTPUT ZERO_STAGE NUM_STEPS [key=value]`.

Keys are those of the recipe and of its deepspeed section. Besides: `stop_after=N` lets rank 1 ask to stop in
its N-th micro-batch, `kill_at=N` kills it there without warning, `hang_at=N` freezes it there, `nan_at=N`
breaks its loss there; `largest_file=N` fills its disk.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import fields
from pathlib import Path

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.toy import ToyStage, toy_recipe  # noqa: E402
from unimm.training.loop import train  # noqa: E402
from unimm.training.recipe import DeepSpeedRecipe  # noqa: E402

SIGNALS = {"stop_after": signal.SIGTERM, "kill_at": signal.SIGKILL, "hang_at": signal.SIGSTOP}


class TroubledStage(ToyStage):
    """Something happens to rank 1, or to the only one, during one micro-batch. Pictures are of weights."""

    def __init__(self, trouble: dict[str, int]):
        super().__init__()
        self.count, here = 0, os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)
        self.trouble = trouble if here else {}

    def step(self, batch, generator):
        self.count += 1
        for name, number in SIGNALS.items():
            if self.trouble.get(name) == self.count:
                os.kill(os.getpid(), number)
        losses = super().step(batch, generator)
        if self.trouble.get("nan_at") == self.count:
            losses["loss"] = losses["loss"] * float("nan")
        return losses

    def sample(self, folder, step) -> None:
        shown = self.modules["net"](torch.eye(8, device=self.modules["base"].weight.device))
        (folder / f"{step:08d}.txt").write_text(repr(shown.tolist()))


def main(output: str, zero_stage: int, num_steps: int, changes: dict) -> None:
    torch.set_num_threads(1)
    trouble = {name: changes.pop(name) for name in (*SIGNALS, "nan_at") if name in changes}
    largest_file = changes.pop("largest_file", 0)
    if largest_file and os.environ["RANK"] == "1":
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sharding = {f.name: changes.pop(f.name) for f in fields(DeepSpeedRecipe) if f.name in changes}
    deepspeed = DeepSpeedRecipe(zero_stage=zero_stage, **sharding) if zero_stage >= 0 else None
    recipe = toy_recipe(output, num_steps, device="cpu", deepspeed=deepspeed, **changes)
    train(recipe, TroubledStage(trouble))


if __name__ == "__main__":
    pairs = (item.split("=") for item in sys.argv[4:])
    main(
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), {key: yaml.safe_load(value) for key, value in pairs}
    )
