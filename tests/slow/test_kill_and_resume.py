"""A run that is killed without warning, several times, ends with the bits of one that was not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import ToyStage, toy_recipe
from unimm.training import checkpoint
from unimm.training.log import read_metrics
from unimm.training.loop import train

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("killed.py")
NUM_STEPS = 60
PATIENCE_SECONDS = 240  # starting Python with torch takes a few seconds, many on a busy machine


def start(output: Path, seconds_per_step: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(output), str(NUM_STEPS), str(seconds_per_step)],
        stdout=subprocess.DEVNULL,
    )


def step_of(run: Path) -> int:
    newest = checkpoint.latest(run)
    return checkpoint.read_state(newest)["step"] if newest else 0


def kill_after(process: subprocess.Popen, run: Path, step: int) -> None:
    """SIGKILL the process once its newest checkpoint is past `step`, wherever it is then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if step_of(run) > step:
                    break
            except FileNotFoundError:  # pruned between the listing and the reading
                continue
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def test_a_run_killed_three_times_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(toy_recipe(whole, NUM_STEPS, checkpoint_every=2), ToyStage())
    reached = [0]
    for _ in range(3):
        kill_after(start(killed, 0.05), killed, step=reached[-1] + 6)
        reached.append(step_of(killed))
    assert reached == sorted(set(reached)), "each part went further than the one before"
    assert reached[-1] < NUM_STEPS, "the last part was killed too"
    assert start(killed, 0.0).wait(PATIENCE_SECONDS) == 0

    for name in ("weights", "ema"):
        a, b = (load_file(checkpoint.latest(run) / f"{name}.safetensors") for run in (whole, killed))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    facts = ("step", "samples", "loss", "absolute", "lr", "grad_norm")
    a, b = ([[record[f] for f in facts] for record in read_metrics(run)] for run in (whole, killed))
    assert a == b
    assert [row[0] for row in a] == list(range(3, NUM_STEPS + 1, 3))
    assert not list((killed / "checkpoints").glob(".*")), "a part that was killed while writing is cleaned up"
