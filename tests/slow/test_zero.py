"""Two ranks under DeepSpeed train what one process trains, and resume it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import ToyStage, toy_recipe
from unimm.training import checkpoint
from unimm.training.log import read_metrics
from unimm.training.loop import train

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("ranks.py")
PATIENCE_SECONDS = 400


def two_ranks(output: Path, zero_stage: int, num_steps: int, cache: Path, *changes: str) -> str:
    """Run the script under torchrun; return what it printed, or fail with it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(cache)}
    with subprocess.Popen(
        [*launcher, str(SCRIPT), str(output), str(zero_stage), str(num_steps), *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            process.terminate()  # torchrun passes it on to its ranks
            raise
    assert process.returncode == 0, printed
    return printed


def losses(run: Path) -> list[float]:
    return [value for record in read_metrics(run) for value in (record["loss"], record["grad_norm"])]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.latest(run) / "weights.safetensors")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    """One process with two accumulations sees what two ranks see, and draws their noise."""
    run = tmp_path_factory.mktemp("one")
    train(toy_recipe(run, num_steps=8, accumulation=2, ema_decay=None), ToyStage())
    return run


@pytest.mark.parametrize("zero_stage", [3, 2])
def test_two_ranks_stopped_and_resumed_agree_with_one_process(tmp_path, one_process, zero_stage):
    run, cache = tmp_path / "run", tmp_path / "extensions"
    two_ranks(run, zero_stage, 8, cache, "stop_after=5")
    assert [p.name for p in checkpoint.checkpoints(run)][-1] == "step-00000005"
    two_ranks(run, zero_stage, 8, cache)
    assert losses(run) == pytest.approx(losses(one_process), rel=1e-5)
    expected, got = weights(one_process), weights(run)
    assert expected.keys() == got.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-6)
    assert not cache.exists() or not list(cache.iterdir()), "nothing is compiled on the way"


def test_accumulation_under_ranks_agrees_with_one_process(tmp_path):
    train(toy_recipe(tmp_path / "one", num_steps=4, accumulation=4, ema_decay=None), ToyStage())
    two_ranks(tmp_path / "two", 3, 4, tmp_path / "extensions", "accumulation=2")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_rank_that_cannot_write_stops_all_and_keeps_the_previous_checkpoint(tmp_path):
    run, cache = tmp_path / "run", tmp_path / "extensions"
    two_ranks(run, 3, 2, cache)
    with pytest.raises(AssertionError, match=r"could not save .* step 4.*step-00000002 is intact"):
        two_ranks(run, 3, 4, cache, "largest_file=1500")
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_checkpoint_of_other_ranks_is_refused(tmp_path):
    run = tmp_path / "run"
    two_ranks(run, 2, 2, tmp_path / "extensions")
    with pytest.raises(AssertionError, match="expected a checkpoint of .*'zero_stage': 3"):
        two_ranks(run, 3, 4, tmp_path / "extensions")
