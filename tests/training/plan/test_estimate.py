"""Estimates: arithmetic, refusals, and what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.small import small_settings
from unimm.training.joint import talk_groups
from unimm.training.meter import Peak
from unimm.training.optim import freeze_and_collect
from unimm.training.plan import Assumptions, Device, estimate
from unimm.training.plan.estimate import operations, shaped
from unimm.training.plan.workload import Rows, talking
from unimm.training.recipe import FROZEN, DeepSpeedRecipe, Group, OptimRecipe, TrainRecipe

GIB = 2**30
DEVICE = Device(64 * GIB, Peak(1.0, 1.0))
RECIPE = TrainRecipe(
    output="x",
    num_steps=1000,
    batch_size=32,
    optim=OptimRecipe(lr=1.0),
    deepspeed=DeepSpeedRecipe(zero_stage=0),
)
ROWS = Rows(tokens=40, drawn=0.5, noise_draws=2)


def workload(rows=ROWS):
    return talking(small_settings(), rows, lambda model: talk_groups(model, "adamw"))


def estimated(recipe=RECIPE, gpus=1, device=DEVICE, again=False, rows=ROWS, **assumed):
    return estimate(workload(rows), recipe, gpus, device, Assumptions(**assumed), again)


def test_time_is_work_over_what_the_devices_do():
    found = estimated(utilisation=0.25)
    assert found.step_seconds == pytest.approx(found.step_flops / (0.25 * 1e12))
    assert found.days == pytest.approx(1000 * found.step_seconds / 86_400)
    assert found.tokens == 1000 * 32 * 40
    assert found.images_per_second == pytest.approx(16 / found.step_seconds)


def test_products_in_float32_are_as_slow_as_the_device_has_them():
    slow = replace(DEVICE, peak=Peak(bf16=1.0, float32=0.125))
    halves, wholes = (estimated(replace(RECIPE, precision=p), device=slow) for p in ("bf16", "float32"))
    assert wholes.step_flops == halves.step_flops
    assert wholes.step_seconds == pytest.approx(8 * halves.step_seconds)


def test_work_does_not_depend_on_how_a_batch_is_cut():
    whole = estimated()
    cut = estimated(replace(RECIPE, accumulation=4))
    spread = estimated(gpus=4)
    assert whole.step_flops == cut.step_flops == spread.step_flops
    assert spread.step_seconds == pytest.approx(whole.step_seconds / 4)
    assert cut.device_total < whole.device_total
    assert cut.micro_batch == spread.micro_batch == 8


def test_computing_again_saves_memory_and_costs_at_most_a_third_more_time():
    """Less where a room is not computed again, as the vocabulary's, or only up to what is asked for."""
    before, after = estimated(), estimated(again=True)
    assert after.step_flops == before.step_flops
    assert 1.1 < after.step_seconds / before.step_seconds < 4 / 3
    for room in ("llm", "dit"):
        assert after.device_bytes[f"activations: {room}"] < before.device_bytes[f"activations: {room}"] / 2


def test_a_long_cross_entropy_is_counted_by_a_few_of_its_chunks(monkeypatch):
    """And costs what all of them cost, the last one not full."""
    work, vocabulary = workload(replace(ROWS, tokens=302)), small_settings().llm.vocab_size
    monkeypatch.setattr("unimm.llm.head.CHUNK_NUMBERS", 7 * vocabulary)

    def head(chunk):
        monkeypatch.setattr("unimm.training.plan.workload.CHUNK_NUMBERS", chunk * vocabulary)
        with shaped(work, again=False) as modules:
            freeze_and_collect(modules, work.groups(modules))
            return work.passes(modules, 3, "float32")["head"]

    every_chunk = head(chunk=3 * 302)
    assert head(chunk=7) == every_chunk


def test_a_dit_that_draws_nothing_costs_nothing():
    found = estimated(rows=replace(ROWS, drawn=0.0))
    assert "activations: dit" not in found.device_bytes
    assert found.images_per_second == 0


def test_who_is_frozen_before_the_first_that_learns_has_no_way_back():
    """A DiT that learns alone: the LLM and its vocabulary are read forward only."""
    alone = {"model": FROZEN, "model.dit": Group()}
    all_learn, one_learns = workload(), replace(workload(), groups=lambda modules: alone)

    def passes(work):
        with shaped(work, again=False) as modules:
            freeze_and_collect(modules, work.groups(modules))
            return work.passes(modules, 4, "float32")

    whole, part = passes(all_learn), passes(one_learns)
    for room in ("llm", "head"):
        assert (part[room].saved_bytes, part[room].backward_flops) == (0, 0)
    assert 0 < part["dit"].backward_flops <= whole["dit"].backward_flops
    assert operations(one_learns, 4) == sum(one.flops for one in part.values())


def test_a_batch_that_does_not_divide_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="multiple of ranks x accumulation = 3 x 1 = 3, got 32"):
        estimated(gpus=3)
    with pytest.raises(ValueError, match="zero_stage=2"):
        estimated(replace(RECIPE, deepspeed=None), gpus=2)
    with pytest.raises(ValueError, match="1 or more"):
        estimated(gpus=0)


def test_muon_is_planned_in_one_process_only():
    muon = talking(small_settings(), ROWS, lambda model: talk_groups(model, "muon"))
    with pytest.raises(ValueError, match="expected optimizer adamw under deepspeed, got muon"):
        estimate(muon, RECIPE, 2, DEVICE)
    assert estimate(muon, replace(RECIPE, deepspeed=None), 1, DEVICE).fits


def test_a_host_that_is_too_small_is_refused():
    offloaded = replace(RECIPE, deepspeed=DeepSpeedRecipe(zero_stage=2, offload_optimizer=True))
    found = estimated(offloaded, gpus=2, host_bytes=GIB)
    assert found.device_total <= found.device_capacity
    assert not found.fits
    assert found.host_bytes["optimiser"] > 0


@pytest.mark.parametrize(
    ("assumed", "said"),
    [
        ({"utilisation": 0}, "utilisation"),
        ({"slack": 1}, "slack"),
        ({"devices_per_host": 0}, "devices_per_host"),
    ],
)
def test_assumptions_that_cannot_be_are_refused(assumed, said):
    with pytest.raises(ValueError, match=said):
        Assumptions(**assumed)
