"""The closed form against the normal equations, fits without a sample, and where there is nothing to find."""

from __future__ import annotations

import pytest
import torch

from unimm.alignment.ridge import PENALTIES, fit_ridge


def drawn(count, width, classes, seed=0):
    """Return features, and labels that are the largest of some linear functions of them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width, generator=generator) * 3 + 5
    told = torch.randn(width, classes, generator=torch.Generator().manual_seed(99))
    return features, ((features - 5) @ told).argmax(1), generator


def normal_equations(features, labels, classes, penalty):
    """Return weights [W K] and bias [K] for raw features, the bias not punished: another way to the fit."""
    x, y = features.double(), torch.eye(classes, dtype=torch.float64)[labels]
    mean, std = x.mean(0), x.std(0, correction=0)
    ones = torch.cat([(x - mean) / std, torch.ones(len(x), 1)], 1)
    punished = torch.eye(ones.shape[1], dtype=torch.float64) * penalty * len(x)
    punished[-1, -1] = 0
    solved = torch.linalg.solve(ones.T @ ones + punished, ones.T @ y)
    weight = solved[:-1] / std[:, None]
    return weight, solved[-1] - mean @ weight


def test_scores_are_those_of_the_normal_equations():
    features, labels, _ = drawn(60, 5, 4)
    probe = fit_ridge(features, labels, 4)
    weight, bias = normal_equations(features, labels, 4, probe.penalty)
    torch.testing.assert_close(probe.scores(features), features.double() @ weight + bias)


def test_the_penalty_errs_least_on_samples_left_out():
    """Standardised features given as they are, so that leaving a sample out changes nothing but the fit."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, correction=0)
    labels = torch.randint(0, 3, (12,), generator=generator)
    targets, errors = torch.eye(3, dtype=torch.float64)[labels], {}
    for penalty in PENALTIES:
        total = 0.0
        for out in range(12):
            rest = [i for i in range(12) if i != out]
            ones = torch.cat([features[rest], torch.ones(11, 1)], 1)
            punished = torch.diag(torch.tensor([penalty * 12.0] * 6 + [0.0], dtype=torch.float64))
            solved = torch.linalg.solve(ones.T @ ones + punished, ones.T @ targets[rest])
            total += float(((features[out] @ solved[:-1] + solved[-1] - targets[out]) ** 2).sum())
        errors[penalty] = total
    assert fit_ridge(features, labels, 3).penalty == min(errors, key=errors.get)


def test_what_is_linear_is_found_and_what_is_not_there_is_not():
    one_hot = torch.eye(5)[torch.arange(500) % 5]
    mixed = one_hot @ torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(500) % 5
    probe = fit_ridge(mixed[:300], labels[:300], 5)
    assert bool((probe.classes(mixed[300:]) == labels[300:]).all())
    generator = torch.Generator().manual_seed(2)
    noise, guessed = (
        torch.randn(3000, 20, generator=generator),
        torch.randint(0, 4, (3000,), generator=generator),
    )
    right = (
        (fit_ridge(noise[:1000], guessed[:1000], 4).classes(noise[1000:]) == guessed[1000:]).double().mean()
    )
    assert abs(float(right) - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5  # four standard errors


def test_a_feature_that_never_changes_is_no_trouble():
    features, labels, _ = drawn(40, 3, 2)
    padded = torch.cat([features, torch.full((40, 1), 7.0)], 1)
    torch.testing.assert_close(
        fit_ridge(padded, labels, 2).scores(padded), fit_ridge(features, labels, 2).scores(features)
    )


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1]), "expected at least 3 samples, got 2"),
        (torch.full((4, 3), float("nan")), torch.tensor([0, 1, 0, 1]), "expected finite numbers"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 0, 2]), "integers from 0 to 1"),
        (torch.zeros(4, 3), torch.tensor([0.0, 1, 0, 1]), "integers from 0 to 1"),
        (torch.zeros(4, 3), torch.tensor([0, 1]), "labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(features, labels, said):
    with pytest.raises(ValueError, match=said):
        fit_ridge(features, labels, 2)
