"""unimm.training.operations: the closed form against what torch counts while a step runs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unimm.model.adapters import AdapterSettings, add_adapter
from unimm.training.bench.joint import batch_for, model_for, settings_of
from unimm.training.operations import TalkOperations

SETTINGS = settings_of(width=64, depth=2, vocab_size=512, grid=4)


def counted(model, batch, noise_draws) -> int:
    with FlopCounterMode(display=False) as counter:
        losses = model.training_losses(
            batch, noise_draws=noise_draws, generator=torch.Generator().manual_seed(0)
        )
        (losses.ce + losses.flow).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "learning",
    [("projector", "queries", "llm", "connector", "dit"), ("dit",), ("projector",), ("connector", "dit")],
)
def test_operations_are_those_that_torch_counts_whoever_learns(learning):
    """Torch does not count a CPU's fused attention, and first layers give their inputs no gradients."""
    model, batch = model_for(SETTINGS), batch_for(SETTINGS, rows=4)
    model.requires_grad_(False)
    for room in learning:
        getattr(model, room).requires_grad_(True)
    assert TalkOperations(model, 2)(batch) == pytest.approx(counted(model, batch, 2), rel=0.12)


@pytest.mark.parametrize("rooms", [("llm", "connector", "dit"), ("dit",)])
def test_an_adapter_learns_beside_weights_that_do_not(rooms):
    model, batch = model_for(SETTINGS), batch_for(SETTINGS, rows=4)
    add_adapter(model, AdapterSettings(rooms, rank=8))
    assert TalkOperations(model, 2)(batch) == pytest.approx(counted(model, batch, 2), rel=0.12)


def test_padding_is_no_work_and_packed_samples_do_not_see_each_other():
    model, batch = model_for(SETTINGS), batch_for(SETTINGS, rows=2)
    operations = TalkOperations(model, 1)
    whole = operations(batch)
    batch.attention_mask[0, -8:] = False
    assert operations(batch) < whole
    run = batch.query_runs[0].__class__
    length = batch.input_ids.shape[1]
    batch.samples = tuple(run(row, start, length // 2) for row in range(2) for start in (0, length // 2))
    assert operations(batch) < whole
