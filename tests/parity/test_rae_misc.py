"""Learning-rate schedules, balanced labels and crops against numbers recorded from RAE."""

from __future__ import annotations

import json
import re

import pytest
import torch

from unimm.data.crops import centre_crop
from unimm.data.labels import balanced_labels
from unimm.training.optim import lr_factor
from unimm.training.recipe import OptimRecipe

FALL = {"lr": 2e-4, "final_fraction": 0.1}
"""Both released recipes fall from 2e-4 to 2e-5."""


def assert_rates(recorded, name, num_epochs, optim_of):
    """Compare a recorded sequence, whose name ends in its steps per epoch, update by update."""
    sequences = recorded.under(f"out.lr.{name}.steps_per_epoch")
    assert sequences
    for steps_per_epoch, expected in sequences.items():
        epoch = int(steps_per_epoch)
        optim = optim_of(epoch)
        rates = [optim.lr * lr_factor(step, num_epochs * epoch, optim) for step in range(len(expected))]
        torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected, atol=1e-12, rtol=0)


@pytest.mark.parity("rae/misc")
def test_the_decoder_s_rate_warms_up_an_epoch_and_falls_until_the_sixteenth(recorded):
    assert_rates(
        recorded,
        "stage1_cosine",
        16,
        lambda epoch: OptimRecipe(schedule="cosine", warmup_steps=epoch, **FALL),
    )


@pytest.mark.parity("rae/misc")
def test_the_dit_s_rate_falls_from_epoch_40_to_800_and_stays(recorded):
    assert_rates(
        recorded,
        "stage2_linear",
        1400,
        lambda epoch: OptimRecipe(schedule="linear", hold_steps=40 * epoch, decay_steps=760 * epoch, **FALL),
    )


@pytest.mark.parity("rae/misc")
def test_labels_are_balanced_and_shared_as_recorded(recorded):
    said = json.loads(recorded.metadata["config"])["note"]
    num_classes, num_samples = map(int, re.search(r"(\d+) classes, (\d+) counted", said).groups())
    blocks = recorded.under("out.balanced_labels.")
    assert blocks
    for name, expected in blocks.items():
        rank, num_ranks, seed = map(int, re.fullmatch(r"rank(\d+)_of(\d+)\.seed(\d+)", name).groups())
        got = balanced_labels(
            num_classes, num_samples, expected.shape[1], rank=rank, num_ranks=num_ranks, seed=seed
        )
        assert torch.equal(got, expected)


@pytest.mark.parity("rae/misc")
def test_crops_are_the_recorded_ones_to_the_bit(recorded):
    crops = recorded.under("out.center_crop_")
    assert crops
    for size, expected in crops.items():
        got = centre_crop(recorded.tensors["in.image_u8_hwc"].numpy(), int(size))
        assert torch.equal(torch.from_numpy(got), expected)
