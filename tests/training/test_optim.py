"""unimm.training.optim and ema: who trains, how fast, and the average."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn

from unimm.training.ema import EMA
from unimm.training.optim import (
    SCHEDULES,
    Member,
    Optimizers,
    freeze_and_collect,
    lr_factor,
    parameter_groups,
)
from unimm.training.recipe import FROZEN, Group, OptimRecipe


def modules():
    torch.manual_seed(0)
    return {
        "llm": nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)),
        "dit": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
    }


def test_the_schedule_warms_up_and_ends_at_its_fraction():
    optim = OptimRecipe(lr=1.0, warmup_steps=4, schedule="cosine", final_fraction=0.2)
    assert [lr_factor(step, 104, optim) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert lr_factor(4, 104, optim) == 1.0
    assert lr_factor(54, 104, optim) == pytest.approx(0.6)  # half way between 1 and 0.2
    assert lr_factor(104, 104, optim) == pytest.approx(0.2)
    constant = OptimRecipe(lr=1.0, warmup_steps=2)
    assert [lr_factor(step, 10, constant) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]


def test_the_rate_holds_then_falls_then_stays():
    optim = OptimRecipe(
        lr=1.0, warmup_steps=2, hold_steps=3, decay_steps=4, schedule="linear", final_fraction=0.2
    )
    factors = [lr_factor(step, 100, optim) for step in range(12)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    until_the_end = OptimRecipe(lr=1.0, hold_steps=2, schedule="cosine")
    assert lr_factor(6, 10, until_the_end) == pytest.approx(0.5)


def test_every_schedule_of_a_recipe_is_in_the_table():
    assert set(SCHEDULES) == set(get_args(get_type_hints(OptimRecipe)["schedule"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hold_steps": -1}, "hold_steps: expected 0 or more, got -1"),
        ({"decay_steps": 0, "schedule": "linear"}, "decay_steps: expected a number above 0, got 0"),
        ({"hold_steps": 5}, "constant never does"),
        ({"decay_steps": 5}, "constant never does"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        OptimRecipe(lr=1.0, **change)


def test_the_longest_name_in_the_table_decides():
    groups = {"llm": Group(0.1), "dit": Group(), "dit.1": FROZEN, "llm.0.weight": Group(optimizer="muon")}
    parts = modules()
    found = {m.name: (m.group.lr_scale, m.is_muon) for m in freeze_and_collect(parts, groups)}
    assert found == {
        "llm.0.weight": (1.0, True),
        "llm.0.bias": (0.1, False),
        "llm.1.weight": (0.1, False),
        "llm.1.bias": (0.1, False),
        "dit.0.weight": (1.0, False),
        "dit.0.bias": (1.0, False),
    }
    assert not parts["dit"][1].weight.requires_grad
    freeze_and_collect(parts, {"llm": Group(), "dit": Group()})
    assert parts["dit"][1].weight.requires_grad, "a later stage thaws what an earlier one froze"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"llm": Group()}, "no group covers parameter 'dit.0.weight'"),
        ({"llm": Group(), "dit": Group(), "dti": Group()}, "'dti' matches no parameter; did you mean 'dit'"),
        ({"llm": FROZEN, "dit": FROZEN}, "all are frozen"),
        ({"llm": Group(), "di": Group()}, "no group covers"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        freeze_and_collect(modules(), groups)


def test_tied_weights_are_trained_once():
    parts = modules()
    parts["dit"][1].weight = parts["dit"][0].weight
    names = [member.name for member in freeze_and_collect(parts, {"llm": Group(), "dit": Group()})]
    assert "dit.0.weight" in names
    assert "dit.1.weight" not in names
    parts["head"] = nn.Linear(4, 4)
    parts["head"].weight = parts["dit"][0].weight
    names = [m.name for m in freeze_and_collect(parts, {"llm": Group(), "dit": Group(), "head": Group()})]
    assert "head.bias" in names
    assert "head.weight" not in names


def test_decay_spares_biases_and_gains():
    members = freeze_and_collect(modules(), {"llm": Group(0.5), "dit": Group()})
    groups = parameter_groups(members, OptimRecipe(lr=2.0, weight_decay=0.1))
    for group in groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] == 0.1}
        assert group["lr"] == 2.0 * group["scale"]
    assert sum(len(group["params"]) for group in groups) == len(members)


def test_one_update_is_adamw_by_hand():
    """Adam's first step is lr * sign(g); decay shrinks by lr * decay first; the factor scales both."""
    parameter = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    recipe = OptimRecipe(lr=0.1, weight_decay=0.5, clip=None)
    optimizers = Optimizers([Member("w", parameter, Group(lr_scale=0.5))], recipe)
    parameter.grad = torch.tensor([[3.0, -4.0]])
    norm = optimizers.step(factor=0.2)
    lr = 0.1 * 0.5 * 0.2
    expected = torch.tensor([[1.0, -2.0]]) * (1 - lr * 0.5) - lr * torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(parameter.detach(), expected)
    assert norm == pytest.approx(5.0)
    assert parameter.grad is None


def test_clipping_bounds_the_whole_gradient():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    members = [Member("a", a, Group()), Member("b", b, Group())]
    optimizers = Optimizers(members, OptimRecipe(lr=1.0, clip=1.0, eps=1e3))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert optimizers.step(1.0) == pytest.approx(5.0)
    # With eps far above the gradient, Adam's update is g / eps: the clipped gradient (0.6, 0.8) shows.
    moved = torch.cat([a, b]).detach()
    torch.testing.assert_close(moved, torch.tensor([-6e-4, -8e-4]), rtol=1e-3, atol=0)


def test_muon_takes_matrices_and_adamw_the_rest():
    parts = modules()
    members = freeze_and_collect(parts, {"llm": FROZEN, "dit": Group(optimizer="muon")})
    optimizers = Optimizers(members, OptimRecipe(lr=0.02))
    sizes = {name: sum(len(g["params"]) for g in o.param_groups) for name, o in optimizers.all.items()}
    assert sizes == {"adamw": 2, "muon": 2}
    before = parts["dit"][0].weight.detach().clone()
    parts["dit"](torch.randn(8, 4)).square().mean().backward()
    optimizers.step(1.0)
    update = (parts["dit"][0].weight.detach() - before).flatten()
    # Orthogonalised and scaled to the size of AdamW's updates: 0.2 lr per entry (Liu et al. 2025).
    assert 0.1 * 0.02 < update.square().mean().sqrt() < 0.3 * 0.02


def test_the_average_follows_its_formula():
    parameter = nn.Parameter(torch.zeros(1))
    ema = EMA([Member("w", parameter, Group())], decay=0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]):
        with torch.no_grad():
            parameter.fill_(value)
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert ema.averages[0].item() == pytest.approx(expected, rel=1e-6)


def test_swapping_shows_the_average_and_gives_back_the_bits():
    parameter = nn.Parameter(torch.tensor([math.pi]))
    ema = EMA([Member("w", parameter, Group())], decay=0.5)
    with torch.no_grad():
        parameter.fill_(1 / 3)
    with ema.swapped():
        assert parameter.item() == pytest.approx(math.pi)
    assert parameter.item() == torch.tensor(1 / 3).item()
    with pytest.raises(RuntimeError), ema.swapped():  # noqa: PT012
        raise RuntimeError
    assert parameter.item() == torch.tensor(1 / 3).item()
