"""unimm.training.adversary.losses: both sides' losses and their balance."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.training.adversary import adaptive_weight, generator_loss, hinge_loss, vanilla_loss


def test_the_hinge_stops_at_one():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    assert hinge_loss(real, fake).item() == pytest.approx(0.5 * (0.5 + 1.0))
    assert hinge_loss(torch.ones(3), -torch.ones(3)).item() == 0


def test_the_logistic_loss_is_the_cross_entropy_of_the_logits():
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([0.7, -0.1])

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    expected = -0.5 * (
        sum(math.log(sigmoid(x)) for x in real.tolist()) / 2
        + sum(math.log(1 - sigmoid(x)) for x in fake.tolist()) / 2
    )
    assert vanilla_loss(real, fake).item() == pytest.approx(expected)


def test_the_decoder_wants_high_logits():
    assert generator_loss(torch.tensor([1.0, 3.0])).item() == -2


def test_the_weight_is_the_ratio_of_the_pulls_and_keeps_both_graphs():
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    reconstruction, adversarial = (weight * 6).sum(), (weight * 2).sum()
    found = adaptive_weight(reconstruction, adversarial, weight)
    assert found.item() == pytest.approx(3.0)
    assert not found.requires_grad
    (reconstruction + found * adversarial).backward()
    torch.testing.assert_close(weight.grad, torch.full((1, 2), 12.0))


def test_the_weight_is_cut_where_the_adversary_hardly_pulls():
    weight = torch.nn.Parameter(torch.ones(1))
    assert adaptive_weight((weight * 5).sum(), (weight * 0).sum(), weight).item() == 1e4
