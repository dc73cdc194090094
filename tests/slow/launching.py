"""Starting a script on several CPU ranks, as torchrun does, and waiting for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from unimm.training import checkpoint
from unimm.training.log import read_metrics

SCRIPT = Path(__file__).with_name("ranks.py")
PATIENCE_SECONDS = 400


def launch(output: Path, zero_stage: int, num_steps: int, *changes: str, ranks: int = 2) -> str:
    """Run the script; return what it printed, or fail with it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return run([*launcher, str(SCRIPT), str(output), str(zero_stage), str(num_steps), *changes])


def run(command: list[str], **environment: str) -> str:
    """Run a command; return what it printed, or fail with it."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            process.terminate()  # a launcher passes it on to its ranks
            raise
    assert process.returncode == 0, printed
    return printed


def losses(run: Path) -> list[float]:
    return [value for record in read_metrics(run) for value in (record["loss"], record["grad_norm"])]


def saved(run: Path, name: str = "weights"):
    return load_file(checkpoint.latest(run) / f"{name}.safetensors")
