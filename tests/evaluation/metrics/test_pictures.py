"""PSNR and SSIM by closed forms; the recorded numbers of scikit-image are in tests/parity."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.metrics import psnr, ssim


def flat(level, count=2):
    return np.full((count, 16, 20, 3), level, np.uint8)


def test_psnr_is_that_of_the_formula():
    assert psnr(flat(0), flat(10)) == pytest.approx([20 * np.log10(25.5)] * 2)
    assert psnr(flat(200), flat(190)) == pytest.approx([20 * np.log10(25.5)] * 2)  # no wrapping round


def test_psnr_of_equal_pictures_is_infinite_or_as_high_as_the_least_error_allows():
    assert psnr(flat(3), flat(3)).tolist() == [np.inf] * 2
    assert psnr(flat(3), flat(3), least_error=0.25) == pytest.approx([20 * np.log10(255 / 0.5)] * 2)
    assert psnr(flat(3), flat(5), least_error=0.25) == pytest.approx(psnr(flat(3), flat(5)))


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_of_flat_pictures_compares_their_levels(window):
    constant = (0.01 * 255) ** 2
    expected = (2 * 100 * 50 + constant) / (100**2 + 50**2 + constant)
    assert ssim(flat(100, 9), flat(50, 9), window) == pytest.approx([expected] * 9)


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_is_of_each_picture_by_itself(window):
    rng = np.random.default_rng(0)
    true, got = rng.integers(0, 256, (2, 11, 13, 17, 3), dtype=np.uint8)
    each = [ssim(a[None], b[None], window)[0] for a, b in zip(true, got, strict=True)]
    assert ssim(true, got, window) == pytest.approx(each, abs=1e-12)
    assert ssim(true, true, window) == pytest.approx(np.ones(11))


def test_pictures_that_cannot_be_compared_are_named():
    with pytest.raises(ValueError, match=r"two uint8 arrays .* of one shape, got uint8 \(2, 16, 20, 3\) and"):
        psnr(flat(0), flat(0, 3))
    with pytest.raises(ValueError, match="got uint8 .* and float64"):
        ssim(flat(0), flat(0).astype(float))
    with pytest.raises(ValueError, match="at least 11 pixels a side"):
        ssim(flat(0)[:, :10], flat(0)[:, :10])
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        ssim(flat(0), flat(0), "gauss")
