"""The linear probe: what it can tell and what it cannot, its schedule, and LARS step by step."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from unimm.alignment.probe import MAE, REPA, Lars, ProbeSettings, accuracy, fit_probe

QUICK = ProbeSettings(learning_rate=0.05, epochs=20, warmup_epochs=2, batch_size=64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def separable(count=200, seed=0):
    """Return points around three corners, far from each other, and which corner."""
    labels = torch.arange(count) % 3
    corners = torch.tensor([[4.0, 0.0, 0.0, 1.0], [0.0, 4.0, 0.0, 1.0], [0.0, 0.0, 4.0, 1.0]])
    return corners[labels] + 0.5 * torch.randn(count, 4, generator=seeded(seed)), labels


@pytest.mark.parametrize(
    "settings", [QUICK, dataclasses.replace(QUICK, optimiser="lars", learning_rate=100.0)]
)
def test_separable_classes_are_told_apart_on_samples_never_seen(settings):
    probe = fit_probe(*separable(), 3, settings, generator=seeded())
    assert not probe.training
    assert accuracy(probe, *separable(seed=1)) == 1


def test_the_norm_makes_the_scale_and_place_of_features_irrelevant():
    features, labels = separable()
    probe = fit_probe(features, labels, 3, QUICK, generator=seeded())
    other = fit_probe(1e-2 * features + 3, labels, 3, QUICK, generator=seeded())
    torch.testing.assert_close(other.head.weight, probe.head.weight, atol=2e-2, rtol=0)
    assert accuracy(other, 1e-2 * features + 3, labels) == 1


def test_what_no_line_separates_stays_unseparated():
    features = torch.randn(400, 2, generator=seeded())
    labels = (features.prod(1) > 0).long()
    probe = fit_probe(features, labels, 2, QUICK, generator=seeded())
    assert accuracy(probe, features, labels) < 0.65


def test_accuracy_counts_over_batches():
    features, labels = separable(10)
    probe = fit_probe(features, labels, 3, QUICK, generator=seeded())
    wrong = labels.clone()
    wrong[:4] = (wrong[:4] + 1) % 3
    assert accuracy(probe, features, wrong, batch_size=3) == 0.6


def test_the_same_seed_gives_the_same_probe():
    one, same, other = (fit_probe(*separable(), 3, QUICK, generator=seeded(s)) for s in (0, 0, 1))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine():
    assert [REPA.rate(epoch) for epoch in (0, 5, 10)] == [0, 0.5e-3, 1e-3]
    assert REPA.rate(50) == pytest.approx(0.5e-3)
    assert REPA.rate(10 + 80 / 3) == pytest.approx(0.75e-3)
    assert REPA.rate(90) == pytest.approx(0)
    assert MAE.rate(10) == pytest.approx(0.1 * 16384 / 256)


def test_lars_scales_the_steps_of_matrices_by_their_norms():
    matrix = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    vector, still = torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.zeros(1, 2))
    lars = Lars([matrix, vector, still], lr=2.0, momentum=0.5, trust=0.1)
    for p in (matrix, vector, still):
        p.grad = torch.tensor([0.0, 2.0]).reshape(p.shape)
    lars.step()  # of the matrix: 0.1 * 5 / 2 = 1/4 of the gradient
    torch.testing.assert_close(matrix, torch.tensor([[3.0, 3.0]]))
    torch.testing.assert_close(vector, torch.tensor([3.0, 0.0]))
    torch.testing.assert_close(still, torch.tensor([[0.0, -4.0]]))
    lars.step()
    length = math.sqrt(18)
    torch.testing.assert_close(matrix, torch.tensor([[3.0, 3 - 2 * (0.25 + 0.1 * length)]]))
    torch.testing.assert_close(vector, torch.tensor([3.0, -6.0]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x, y: fit_probe(x, y[:9], 3, generator=seeded()), "labels: expected .* N=200, got 9"),
        (lambda x, y: fit_probe(x, y, 2, generator=seeded()), "labels: expected integers from 0 to 1, got"),
        (lambda x, y: fit_probe(x, y.float(), 3, generator=seeded()), "got torch.float32"),
        (lambda x, y: fit_probe(x[:1], y[:1], 3, generator=seeded()), "at least 2 samples, got 1"),
        (lambda x, y: fit_probe(x[None], y, 3, generator=seeded()), r"features: expected \[N W\]"),
        (lambda x, y: fit_probe(x / 0, y, 3, generator=seeded()), "features: expected finite"),
        (
            lambda x, y: accuracy(fit_probe(x, y, 3, QUICK, generator=seeded()), x[:, :3], y),
            "features: expected .* W=4, got 3",
        ),
        (lambda x, y: ProbeSettings(optimiser="larss"), "did you mean 'lars'"),
        (lambda x, y: ProbeSettings(epochs=5), "probe.warmup_epochs: expected 0 to 4"),
        (lambda x, y: ProbeSettings(learning_rate=0), "probe.learning_rate: expected a positive"),
    ],
)
def test_the_door_refuses(call, said):
    with pytest.raises(ValueError, match=said):
        call(*separable())
