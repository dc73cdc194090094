"""Grids keep their ends."""

from __future__ import annotations

import pytest

from unimm.flow.grids import GRIDS
from unimm.flow.shifting import dimension_alpha


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("channels", [8, 192, 768, 1152, 1])
def test_a_grid_stays_within_zero_and_one_for_any_shift(name, channels):
    """sqrt(9 * 8 / 4096): the shift of 1 rounds to a hair above 1 unless it is told."""
    grid = GRIDS[name](7, dimension_alpha(9, channels))
    assert grid[0] == 1
    assert grid.min() >= 0
