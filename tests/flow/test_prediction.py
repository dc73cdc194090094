"""Outputs of every meaning give the velocity of the straight path."""

import pytest
import torch

from unimm.flow import PREDICTIONS, interpolate, velocity_target

TIMES = torch.tensor([0.05, 0.3, 0.7, 0.95])


def test_every_meaning_is_tried_here():
    assert set(PREDICTIONS) == {"velocity", "x", "eps"}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_perfect_output_gives_the_true_velocity(name):
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 4, 3, 5, generator=generator)
    perfect = {"velocity": velocity_target(x, noise), "x": x, "eps": noise}[name]
    velocity = PREDICTIONS[name](perfect, interpolate(x, noise, TIMES), TIMES)
    assert torch.allclose(velocity, velocity_target(x, noise), atol=1e-4)


@pytest.mark.parametrize(("name", "t"), [("x", 0.0), ("eps", 1.0)])
def test_the_velocity_stays_finite_where_the_output_tells_nothing(name, t):
    x = torch.ones(1, 2, 3)
    assert PREDICTIONS[name](x * 0.9, x, torch.full((1,), t)).abs().max() <= 0.1 / 0.05 + 1e-5
