"""Outputs of either meaning give the velocity of the straight path."""

import pytest
import torch

from unimm.flow import PREDICTIONS, interpolate, velocity_target

TIMES = torch.tensor([0.05, 0.3, 0.7, 1.0])


@pytest.mark.parametrize(("name", "output"), [("velocity", "v"), ("x", "x")])
def test_a_perfect_output_gives_the_true_velocity(name, output):
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 4, 3, 5, generator=generator)
    perfect = {"v": velocity_target(x, noise), "x": x}[output]
    velocity = PREDICTIONS[name](perfect, interpolate(x, noise, TIMES), TIMES)
    assert torch.allclose(velocity, velocity_target(x, noise), atol=1e-4)


def test_the_velocity_of_clean_data_stays_finite_at_time_zero():
    x = torch.ones(1, 2, 3)
    assert PREDICTIONS["x"](x * 0.9, x, torch.zeros(1)).abs().max() <= 0.1 / 0.05 + 1e-5
