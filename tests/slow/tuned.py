"""Take two steps of a tuning and print how much memory they took at most: run by test_plan_tuning.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slow.planned import peak_bytes  # noqa: E402
from tests.slow.tuning import STEPS, recipe  # noqa: E402
from unimm.model.adapters import import_peft  # noqa: E402
from unimm.training.optim import Optimizers, freeze_and_collect  # noqa: E402


def main(name: str) -> None:
    torch.set_num_threads(1)
    import_peft()  # its code is none of a run's memory
    before = peak_bytes()
    modules, groups, loss = STEPS[name]()
    optimizers = Optimizers(freeze_and_collect(modules, groups), recipe(name).train.optim)
    for step in range(2):
        loss(torch.Generator().manual_seed(step)).backward()
        optimizers.update(1.0)
    print(peak_bytes() - before)


if __name__ == "__main__":
    main(sys.argv[1])
