"""Bytes kept from step to step, against the sums one can do by hand."""

from __future__ import annotations

import pytest
from torch import nn

from unimm.training.optim import freeze_and_collect
from unimm.training.plan.states import kept, largest_gathered
from unimm.training.recipe import FROZEN, DeepSpeedRecipe, Group, OptimRecipe, TrainRecipe

TRAINED, STILL, TABLE = 7 * 5 + 5, 5 * 3, 4
WORLD = 4


def modules():
    model = nn.ModuleDict({"learns": nn.Linear(7, 5), "still": nn.Linear(5, 3, bias=False)})
    model.register_buffer("table", nn.Parameter(nn.Linear(2, 2).weight.detach(), requires_grad=False).data)
    return {"model": model}


def kept_by(groups=None, world=1, **options):
    made = modules()
    members = freeze_and_collect(made, groups or {"model": Group(), "model.still": FROZEN})
    recipe = TrainRecipe(output="x", num_steps=1, batch_size=4, optim=OptimRecipe(lr=1.0), **options)
    return kept(list(made.values()), members, recipe, world)


def test_one_process_keeps_everything():
    found = kept_by()
    assert found.host == {}
    assert found.device == {
        "weights": 4 * (TRAINED + STILL + TABLE),
        "gradients": 4 * TRAINED,
        "optimiser": 8 * TRAINED,
    }


def test_muon_keeps_one_moment_of_matrices():
    found = kept_by({"model": Group(optimizer="muon"), "model.still": FROZEN})
    assert found.device["optimiser"] == 4 * (7 * 5) + 8 * 5


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimiser"),
    [
        (0, TRAINED + STILL, TRAINED, 2 * TRAINED),
        (1, TRAINED + STILL, TRAINED, (2 + 1) * TRAINED / WORLD),
        (2, TRAINED + STILL, TRAINED / WORLD, 3 * TRAINED / WORLD),
        (3, (TRAINED + STILL) / WORLD, TRAINED / WORLD, 3 * TRAINED / WORLD),
    ],
)
def test_zero_divides_what_it_says(stage, weights, gradients, optimiser):
    found = kept_by(world=WORLD, deepspeed=DeepSpeedRecipe(zero_stage=stage)).device
    assert found["weights"] == pytest.approx(4 * (weights + TABLE), abs=2)
    assert found["gradients"] == pytest.approx(4 * gradients, abs=2)
    assert found["optimiser"] == pytest.approx(4 * optimiser, abs=4)


def test_what_is_offloaded_is_on_the_host():
    recipe = DeepSpeedRecipe(zero_stage=3, offload_optimizer=True, offload_parameters=True)
    found, before = kept_by(world=WORLD, deepspeed=recipe), kept_by(world=WORLD, deepspeed=DeepSpeedRecipe())
    assert found.host["optimiser"] == before.device["optimiser"]
    assert found.host["weights"] + found.device["weights"] == before.device["weights"]
    assert "optimiser" not in found.device


def test_averages_are_one_more_copy_of_what_learns():
    assert kept_by(ema_decay=0.999).device["average"] == 4 * TRAINED


def test_the_largest_module_is_gathered_twice():
    assert largest_gathered(list(modules().values())) == 2 * 4 * (7 * 5 + 5)
