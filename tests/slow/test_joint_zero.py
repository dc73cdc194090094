"""The joint stage under DeepSpeed ZeRO-3 on two CPU ranks does what one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.training.road import decoder_recipe, encoder_recipe, joint_recipe
from unimm.training.decoder import DecoderStage
from unimm.training.encoder import EncoderStage
from unimm.training.joint import JointStage
from unimm.training.log import read_metrics
from unimm.training.loop import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="the train extra is not installed"),
]

SCRIPT = Path(__file__).with_name("joint_ranks.py")
PATIENCE_SECONDS = 500


def test_two_ranks_have_the_losses_of_one_process(tmp_path):
    for recipe, stage in (
        (encoder_recipe(tmp_path), EncoderStage),
        (decoder_recipe(tmp_path), DecoderStage),
    ):
        train(recipe.train, stage(recipe), recipe)
    recipe = joint_recipe(tmp_path, matrices="adamw", accumulation=2)
    torch.manual_seed(0)
    train(recipe.train, JointStage(recipe), recipe)

    output = tmp_path / "sharded"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")}
    printed = subprocess.run(
        [*launcher, str(SCRIPT), str(tmp_path), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert printed.returncode == 0, printed.stdout

    alone, sharded = read_metrics(tmp_path / "joint"), read_metrics(output)
    assert [record["step"] for record in sharded] == [1, 2]
    for one, two in zip(alone, sharded, strict=True):
        for name in ("loss", "ce", "flow"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name
