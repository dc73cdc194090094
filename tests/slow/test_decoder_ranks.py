"""The decoder and its discriminator on two ranks train as one process does with two accumulations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.slow.launching import run
from unimm.training.log import read_metrics

pytestmark = pytest.mark.slow

CONFIG = "configs/train/tiny_decoder_adversarial.yaml"
SMALL = (
    "train.num_steps=3", "train.batch_size=4", "train.log_every=1", "train.sample_every=null",
    "train.checkpoint_minutes=null", "train.threads=1", "train.precision=float32", "train.device=cpu",
    "matrices=adamw", "losses.adversary.discriminator_from=0", "losses.adversary.adversarial_from=1",
    "pictures.count=20",
)  # fmt: skip
LOSSES = ("loss", "perceptual@tiny", "disc@tiny_loss", "disc@tiny_norm", "grad_norm")


def test_two_ranks_and_their_discriminators_agree_with_one_process(tmp_path):
    def trained(name: str, launcher: list[str], *more: str) -> list[dict]:
        output: Path = tmp_path / name
        folder = f"pictures.folder={tmp_path / 'pictures'}"
        run(
            [
                sys.executable,
                "-m",
                *launcher,
                "train.decoder",
                CONFIG,
                *SMALL,
                folder,
                f"train.output={output}",
                *more,
            ]
        )
        return read_metrics(output)

    one = trained("one", [], "train.accumulation=2")
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    two = trained("two", launcher, "train.deepspeed.zero_stage=2")
    assert len(one) == len(two) == 3
    for ours, theirs in zip(two, one, strict=True):
        for name in LOSSES:
            # Power iteration counts passes, of which one process makes twice as many.
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
