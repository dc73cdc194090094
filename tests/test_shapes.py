"""The check that speaks plainly, and the fixed position table."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from unimm.shapes import expect, has_values, side_of, sincos_table


def test_expect_returns_the_sizes_and_binds_letters():
    assert expect("x", torch.zeros(2, 3, 4), "B 3 C", C=4) == {"B": 2, "C": 4}


@pytest.mark.parametrize(
    ("shape", "spec", "said"),
    [
        ((2, 3), "B N C", r"x: expected \[B N C\] \(3 dimensions\), got shape \(2, 3\)"),
        ((2, 3, 5), "B N C", r"x: expected \[B N C\] with C=4, got 5 in shape \(2, 3, 5\)"),
        ((2, 3, 4), "B B C", r"with B=2, got 3"),
        ((2, 1, 4), "B 3 C", r"with 3=3, got 1"),
    ],
)
def test_expect_says_what_was_expected_and_found(shape, spec, said):
    with pytest.raises(ValueError, match=said):
        expect("x", torch.zeros(shape), spec, C=4)


def test_a_grid_has_a_square_number_of_tokens():
    assert side_of(25) == 5
    with pytest.raises(ValueError, match="square number of tokens, got 24"):
        side_of(24)


def test_the_position_table_encodes_column_then_row():
    table = sincos_table(grid=5, width=16)
    assert table.shape == (25, 16)
    row, column = 2, 3
    token = table[row * 5 + column]
    assert token[1].item() == pytest.approx(math.sin(column / 10000**0.25))
    assert token[4].item() == pytest.approx(math.cos(column))
    assert token[8].item() == pytest.approx(math.sin(row))
    assert sincos_table(5, 16, step=0.25)[2 * 5 + 3, 8].item() == pytest.approx(math.sin(row / 4))


def test_the_position_table_is_real_on_the_meta_device():
    with torch.device("meta"):
        assert torch.equal(sincos_table(2, 8), sincos_table(2, 8).cpu())


def test_only_what_has_values_at_hand_is_looked_at():
    x = torch.ones(2)
    assert has_values(x)
    assert not has_values(torch.ones(0))
    assert not has_values(torch.ones(2, device="meta"))
    with FakeTensorMode():
        assert not has_values(torch.ones(2))
    seen = []
    torch.compile(lambda x: seen.append(has_values(x)) or x + 1, backend="eager")(x)
    assert seen == [False]
