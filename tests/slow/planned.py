"""Train two steps of a mid-size model and print how much memory they took at most: run by test_plan.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slow.planning import GROUPS, RECIPE, ROWS, batch, settings  # noqa: E402
from unimm.model.config import UniMMConfig  # noqa: E402
from unimm.model.unimm import UniMM  # noqa: E402
from unimm.training.optim import Optimizers, freeze_and_collect  # noqa: E402


def peak_bytes() -> int:
    """Of this program: getrusage's maximum begins at that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    torch.set_num_threads(1)
    before = peak_bytes()
    model = UniMM(UniMMConfig(settings())).train()
    optimizers = Optimizers(freeze_and_collect({"model": model}, GROUPS(model)), RECIPE.optim)
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        losses = model.training_losses(batch(), noise_draws=ROWS.noise_draws, generator=generator)
        (losses.ce + 2 * losses.flow).backward()
        optimizers.update(1.0)
    print(peak_bytes() - before)


if __name__ == "__main__":
    main()
