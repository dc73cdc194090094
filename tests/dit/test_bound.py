"""Theorem 1: what a narrow network cannot learn, shown on the best linear one, and refused in recipes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.dit.small import VECTORS, WIDE
from unimm.dit.bound import output_width, refuse_narrow, width_bound


def test_the_best_network_of_inner_width_d_reaches_the_bound_and_no_less():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(5000, 6, generator=generator, dtype=torch.float64) @ mixing
    targets -= targets.mean(0)
    eigenvalues = torch.linalg.eigvalsh(targets.T @ targets / len(targets))
    u, s, vh = torch.linalg.svd(targets, full_matrices=False)
    for width in range(1, 7):
        best = (u[:, :width] * s[:width]) @ vh[:width]  # nothing of that rank is nearer (Eckart & Young)
        loss = (targets - best).square().sum(1).mean()
        assert width_bound(width, 6, eigenvalues) == pytest.approx(float(loss), abs=1e-9)


def test_for_one_picture_it_is_the_share_of_missing_dimensions():
    assert width_bound(384, 768) == 0.5
    assert width_bound(768, 768) == width_bound(2048, 768) == 0
    assert width_bound(384, 768, torch.ones(768)) / 768 == width_bound(384, 768)


def test_eigenvalues_of_another_token_are_refused():
    with pytest.raises(ValueError, match=r"eigenvalues: expected \[6\], got \[5\]"):
        width_bound(2, 6, torch.ones(5))


def test_recipes_refuse_a_narrow_network_and_say_the_bound():
    narrow = dataclasses.replace(VECTORS, channels=40)
    with pytest.raises(
        ValueError, match=r"dit.width: expected at least the 40 .* got 32.* = 0.200 .*allow_narrow"
    ):
        refuse_narrow(narrow)
    refuse_narrow(narrow, allow_narrow=True)
    refuse_narrow(dataclasses.replace(VECTORS, channels=32))


def test_of_a_wide_head_the_head_counts():
    assert output_width(WIDE) == 48
    refuse_narrow(dataclasses.replace(WIDE, channels=48))
    with pytest.raises(ValueError, match=r"dit.head_width: expected at least the 49"):
        refuse_narrow(dataclasses.replace(WIDE, channels=49))


def test_patches_are_wider_than_their_channels():
    with pytest.raises(ValueError, match="expected at least the 36"):
        refuse_narrow(dataclasses.replace(VECTORS, channels=9, patch_size=2))
