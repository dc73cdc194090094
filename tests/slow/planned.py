"""Train two steps of a mid-size run and print how much memory they took at most: run by test_plan.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slow.planning import GROUPS, PICTURES, RECIPE, ROWS, batch, settings  # noqa: E402
from unimm.model.config import UniMMConfig  # noqa: E402
from unimm.model.unimm import UniMM  # noqa: E402
from unimm.training.optim import Optimizers, freeze_and_collect  # noqa: E402


def peak_bytes() -> int:
    """Of this program: getrusage's maximum begins at that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def talk() -> None:
    model = UniMM(UniMMConfig(settings())).train()
    optimizers = Optimizers(freeze_and_collect({"model": model}, GROUPS(model)), RECIPE.optim)
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        losses = model.training_losses(batch(), noise_draws=ROWS.noise_draws, generator=generator)
        (losses.ce + 2 * losses.flow).backward()
        optimizers.update(1.0)


def pictures(name: str) -> None:
    """Train a stage whose networks are random, and whose discriminator is."""
    stage_class, recipe, workload = PICTURES[name]()
    stage = object.__new__(stage_class)  # without the files that it would read
    stage.recipe, stage.modules = recipe, workload.build(False)
    members = freeze_and_collect(stage.modules, workload.groups(stage.modules))
    optimizers = Optimizers(members, RECIPE.optim)
    pixels = torch.rand(RECIPE.batch_size, 3, 64, 64)
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        stage.step(pixels, generator)["loss"].backward()
        optimizers.update(1.0)
        stage.after_update([(pixels, generator)])


def main(name: str) -> None:
    torch.set_num_threads(1)
    if name in PICTURES:
        with torch.device("meta"):
            PICTURES[name]()[2].build(False)  # imports what it is made of
    before = peak_bytes()
    talk() if name == "talk" else pictures(name)
    print(peak_bytes() - before)


if __name__ == "__main__":
    main(sys.argv[1])
