"""unimm.data.crops: the middle stays the middle, flat stays flat, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.data.crops import centre_crop


@pytest.mark.parametrize("shape", [(97, 40, 3), (40, 97, 3), (16, 16, 3), (9, 20, 3)])
def test_any_picture_becomes_a_square_and_a_flat_one_stays_flat(shape):
    cropped = centre_crop(np.full(shape, 130, np.uint8), 16)
    assert cropped.shape == (16, 16, 3)
    assert (cropped == 130).all()


def test_the_middle_is_kept():
    picture = np.zeros((8, 24, 3), np.uint8)
    picture[:, 8:16] = 255
    assert (centre_crop(picture, 8) == 255).all()


def test_halving_averages():
    """64 to 16 is two halvings by means of 2 x 2, that is means of 4 x 4, and no further change."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    means = picture.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert (
        np.abs(centre_crop(picture, 16) - means).max() <= 2.0
    )  # two passes per halving, each rounds by up to a half


@pytest.mark.parametrize(
    ("picture", "size", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), 2, "expected uint8 .H W 3., got float32"),
        (np.zeros((4, 4), np.uint8), 2, r"of shape \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), 2, r"of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), 0, "size: expected 1 or more, got 0"),
    ],
)
def test_what_is_no_picture_is_refused(picture, size, message):
    with pytest.raises(ValueError, match=message):
        centre_crop(picture, size)
