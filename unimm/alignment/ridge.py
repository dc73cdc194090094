"""A linear probe in closed form: ridge regression on one-hot labels, its penalty by leaving one out.

Beside `probe`, which follows a published protocol by gradient descent: nothing here is drawn or tuned, so two
encoders differ by their features alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm.alignment.probe import expect_labelled
from unimm.shapes import expect

PENALTIES = tuple(10.0**power for power in range(-6, 2))
"""What is tried, times the number of samples: features are standardised, so 1 is as large as a feature."""


@dataclass(frozen=True)
class RidgeClassifier:
    """Standardises features, then puts them to the class of the highest score. All are float64."""

    mean: Tensor  # [W] of the training set
    std: Tensor  # [W], 1 for a feature that never changed
    weight: Tensor  # [W K]
    bias: Tensor  # [K]
    penalty: float  # of PENALTIES, the one that was taken

    def scores(self, features: Tensor) -> Tensor:
        """Return scores [N K], float64, of features [N W]."""
        expect("features", features, "N W", W=len(self.mean))
        return (features.double() - self.mean) / self.std @ self.weight + self.bias

    def classes(self, features: Tensor) -> Tensor:
        """Return the class [N] of features [N W]."""
        return self.scores(features).argmax(1)


def fit_ridge(features: Tensor, labels: Tensor, num_classes: int) -> RidgeClassifier:
    """Return the ridge regression of one-hot labels that errs least on samples left out, one at a time.

    Their squared error needs no second fit: it is that of the residuals divided by 1 - h, where h stands on
    the diagonal of the hat matrix (Golub, Heath & Wahba 1979). Nothing is drawn at random.

    Args:
        features: [N W].
        labels: [N] integers in 0 .. num_classes - 1.
        num_classes: K.

    Raises:
        ValueError: shapes or labels that do not fit, fewer than 3 samples, features that are not finite.
    """
    expect_labelled(features, labels, num_classes, least=3)
    x, y = features.double(), F.one_hot(labels.long(), num_classes).double()
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    bias = y.mean(0)
    left, values, right = torch.linalg.svd((x - mean) / std, full_matrices=False)
    squares, told = values**2, left.T @ (y - bias)
    errors = {}
    for penalty in PENALTIES:
        kept = squares / (squares + penalty * len(x))
        hat = 1 / len(x) + (left**2 * kept).sum(1)
        residuals = (y - bias - left @ (kept[:, None] * told)) / (1 - hat).clamp_min(1e-9)[:, None]
        errors[penalty] = float((residuals**2).sum())
    best = min(errors, key=errors.get)
    shrunk = values / (squares + best * len(x))
    return RidgeClassifier(mean, std, right.T @ (shrunk[:, None] * told), bias, best)
