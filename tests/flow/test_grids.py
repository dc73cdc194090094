"""Grids by name: where they start and end, how many steps they have, what sets each apart."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.flow import GRIDS, clean_grid, dimension_alpha, dynamic_alpha, dynamic_mu, resolution_alpha, shift
from unimm.flow.grids import diffusers_grid, inverted_grid, rae_grid, sde_grid, stretched_grid


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("alpha", [1.0, 6.9282])
def test_every_grid_falls_from_noise_in_as_many_steps_as_asked(kind, alpha):
    for steps in (1, 2, 10):
        grid = GRIDS[kind](steps, alpha)
        assert grid.shape == (steps + 1,)
        assert grid.dtype == torch.float64
        assert grid[0] == 1
        assert (grid.diff() < 0).all()
        last = shift(0.001, alpha) if kind == "rae" else 0
        assert grid[-1].item() == pytest.approx(last)
    for steps in (0, -3):
        with pytest.raises(ValueError, match=f"steps: expected at least 1, got {steps}"):
            GRIDS[kind](steps, alpha)
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1, got 2.5"):
        GRIDS[kind](2.5, alpha)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("channels", [8, 192, 768, 1152, 1])
def test_a_grid_stays_within_zero_and_one_for_any_shift(kind, channels):
    """sqrt(9 * 8 / 4096): the shift of 1 rounds to a hair above 1 unless it is told."""
    grid = GRIDS[kind](7, dimension_alpha(9, channels))
    assert grid[0] == 1
    assert grid.min() >= 0


def test_the_quirks_have_the_published_numbers():
    assert rae_grid(49, 48**0.5)[-1].item() == pytest.approx(0.00689, abs=1e-5)
    assert diffusers_grid(28, 3.0)[-2].item() == pytest.approx(0.008929, abs=1e-6)
    assert diffusers_grid(28, 6.0)[-2].item() == pytest.approx(0.034783, abs=1e-6)
    assert sde_grid(250)[-2].item() == pytest.approx(0.04)
    assert sde_grid(250, 48**0.5)[-2].item() == pytest.approx(0.2240, abs=1e-4)


def test_a_grid_can_be_stretched_to_its_last_time_and_turned_round():
    grid = clean_grid(10, 2.0)
    stretched = stretched_grid(grid, 0.1)
    assert stretched[[0, -2, -1]].tolist() == pytest.approx([1, 0.1, 0])
    assert torch.equal(inverted_grid(grid), 1 - grid)
    with pytest.raises(ValueError, match="terminal"):
        stretched_grid(grid, 1.0)


def test_shifts_follow_resolution_and_tokens():
    assert resolution_alpha(1024**2, 256**2) == 4
    assert dynamic_mu(256) == 0.5
    assert dynamic_mu(4096) == pytest.approx(1.15)
    assert dynamic_alpha(256) == pytest.approx(math.exp(0.5))
    with pytest.raises(ValueError, match="positive counts"):
        resolution_alpha(0, 4096)
