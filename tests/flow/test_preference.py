"""Diffusion-DPO: where it starts, which way it pulls, and what both pictures share."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.flow import dpo_loss, preference_loss


@pytest.fixture
def pair():
    winner, loser, noise = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    return {"winner": winner, "loser": loser, "noise": noise, "t": torch.tensor([0.1, 0.4, 0.6, 0.9])}


def zero(x, t):
    return torch.zeros_like(x)


def test_a_network_that_is_its_own_reference_has_no_margin(pair):
    got = preference_loss(zero, zero, **pair, beta=5000)
    assert torch.equal(got.margin, torch.zeros(4))
    torch.testing.assert_close(got.loss, torch.full((4,), math.log(2)))


def test_it_pulls_to_the_winner_and_away_from_the_loser(pair):
    push = torch.zeros(4, 5, 2, requires_grad=True)
    got = preference_loss(lambda x, t: push, zero, **pair, beta=1.0)
    [slope] = torch.autograd.grad(got.loss.sum(), push)
    towards = (pair["noise"] - pair["winner"]) - (pair["noise"] - pair["loser"])
    torch.testing.assert_close(-slope, 0.5 * 0.5 * 2 * towards / 10)  # beta/2 sigmoid(0) d|v* - v|^2 / 10
    better = preference_loss(lambda x, t: -10 * slope, zero, **pair, beta=1.0)
    assert (better.loss < got.loss).all()
    assert (better.margin < 0).all()


def test_both_share_time_and_noise_and_the_reference_keeps_no_gradient(pair):
    seen = []

    def record(name):
        def velocity(x, t):
            seen.append((name, torch.is_grad_enabled(), x, t))
            return torch.zeros_like(x)

        return velocity

    preference_loss(record("network"), record("reference"), **pair, beta=1.0)
    asked = sorted((name, grad) for name, grad, *_ in seen)
    assert asked == 2 * [("network", True)] + 2 * [("reference", False)]
    assert all(torch.equal(t, pair["t"]) for *_, t in seen)
    shared = pair["t"][:, None, None] * pair["noise"]
    for name in ("network", "reference"):
        states = [x - shared for who, _, x, _ in seen if who == name]
        data = [(1 - pair["t"][:, None, None]) * pair[which] for which in ("winner", "loser")]
        assert any(torch.allclose(states[0], d, atol=1e-6) for d in data)
        torch.testing.assert_close(states[0] + states[1], data[0] + data[1])


def test_a_sum_is_a_mean_with_a_larger_beta(pair):
    network = lambda x, t: 0.1 * x  # noqa: E731
    mean = preference_loss(network, zero, **pair, beta=10.0)
    total = preference_loss(network, zero, **pair, beta=1.0, reduction="sum")
    torch.testing.assert_close(mean.loss, total.loss)


def test_bad_input_is_refused(pair):
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        preference_loss(zero, zero, **pair, beta=1.0, reduction="means")
    with pytest.raises(ValueError, match="beta: expected a positive number"):
        dpo_loss(*torch.ones(4, 2), beta=0.0)
    with pytest.raises(ValueError, match=r"t: expected times in \[0, 1\]"):
        preference_loss(zero, zero, **{**pair, "t": 1000 * pair["t"]}, beta=1.0)
    with pytest.raises(ValueError, match="noise: expected the shape of x"):
        preference_loss(zero, zero, **{**pair, "loser": pair["loser"][:, :2]}, beta=1.0)
