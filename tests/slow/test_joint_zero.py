"""The joint stage under DeepSpeed ZeRO-3 on two CPU ranks does what one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.road import decoder_recipe, encoder_recipe, joint_recipe
from unimm import UniMM
from unimm.config import save
from unimm.training.decoder import DecoderStage
from unimm.training.encoder import EncoderStage
from unimm.training.joint import JointStage
from unimm.training.log import read_metrics
from unimm.training.loop import train

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 500


def run_two_ranks(config: Path, extensions: Path) -> None:
    """Run the recipe as a user would: train/joint.py under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    finished = subprocess.run(
        [*launcher, "--module", "train.joint", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(extensions)},
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert finished.returncode == 0, finished.stdout


def test_two_ranks_have_the_losses_of_one_process_and_export_a_model(tmp_path):
    for recipe, stage in (
        (encoder_recipe(tmp_path), EncoderStage),
        (decoder_recipe(tmp_path), DecoderStage),
    ):
        train(recipe.train, stage(recipe), recipe)
    settings = {"matrices": "adamw", "ema_decay": 0.5, "sample_every": 2}
    alone = joint_recipe(tmp_path, accumulation=2, **settings)
    torch.manual_seed(alone.train.seed)
    train(alone.train, JointStage(alone), alone)

    sharded = {"deepspeed": {"zero_stage": 3}, "device": "cpu", "output": str(tmp_path / "sharded")}
    recipe = replace(joint_recipe(tmp_path, **settings, **sharded), gradient_checkpointing=True)
    save(recipe, tmp_path / "sharded.yaml")
    run_two_ranks(tmp_path / "sharded.yaml", tmp_path / "extensions")

    one, two = read_metrics(tmp_path / "joint"), read_metrics(tmp_path / "sharded")
    assert [record["step"] for record in two] == [1, 2]
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "ce", "flow"):
            assert b[name] == pytest.approx(a[name], rel=1e-4), name
    grids = [sorted((tmp_path / run / "samples").iterdir()) for run in ("joint", "sharded")]
    assert len(grids[0]) == len(grids[1]) == 1
    first, second = (np.asarray(Image.open(grid[0])).astype(int) for grid in grids)
    assert abs(first - second).max() <= 2, "pictures midway are of the averages, drawn by all ranks together"
    assert (tmp_path / "sharded" / "shell" / "tokenizer.json").is_file()
    drawn = UniMM.from_pretrained(str(tmp_path / "sharded" / "model")).generate_image(
        "a star", num_inference_steps=2
    )
    assert drawn.images[0].size == (24, 24)
