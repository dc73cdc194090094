"""Flow matching against answers that are known in closed form."""

from __future__ import annotations

import pytest
import torch

from unimm.flow import (
    NEVER,
    clean_grid,
    dimension_alpha,
    euler,
    guided,
    integrate_transitions,
    interpolate,
    logit_normal,
    scale_rae_grid,
    scale_rae_transitions,
    shift,
    velocity_loss,
    velocity_target,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_path_runs_from_data_to_noise(generator):
    x, e = torch.randn(2, 3, 4, 5, generator=generator)
    assert torch.equal(interpolate(x, e, torch.zeros(3)), x)
    assert torch.equal(interpolate(x, e, torch.ones(3)), e)
    t, dt = torch.tensor([0.2, 0.5, 0.8]), 1e-3
    slope = (interpolate(x, e, t + dt) - interpolate(x, e, t)) / dt
    torch.testing.assert_close(slope, velocity_target(x, e), atol=1e-3, rtol=1e-3)


def test_the_path_refuses_what_would_broadcast():
    x = torch.zeros(3, 4, 5)
    with pytest.raises(ValueError, match="noise: expected the shape of x"):
        interpolate(x, torch.zeros(4, 5), torch.zeros(3))
    with pytest.raises(ValueError, match="t: expected one time per sample"):
        interpolate(x, x, torch.zeros(1))


def test_the_loss_of_the_true_velocity_is_zero_and_of_another_its_mean_square(generator):
    x, e = torch.randn(2, 3, 4, 5, generator=generator)
    t = torch.tensor([0.1, 0.5, 0.9])
    assert torch.equal(velocity_loss(lambda x_t, t: e - x, x, e, t), torch.zeros(3))
    off = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    loss = velocity_loss(lambda x_t, t: e - x + off, x, e, t)
    torch.testing.assert_close(loss, torch.tensor([1.0, 4.0, 9.0]))


def test_the_loss_refuses_a_velocity_that_would_broadcast():
    x = torch.zeros(3, 4, 5)
    with pytest.raises(ValueError, match="velocity: expected the shape of x"):
        velocity_loss(lambda x_t, t: x_t[:1], x, x, torch.zeros(3))


def test_times_are_logit_normal_and_depend_on_their_generator_only(generator):
    t = logit_normal(20000, mean=0.5, std=2.0, generator=generator)
    u = torch.logit(t.double())
    assert t.min() > 0
    assert t.max() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=0.05)
    assert u.std().item() == pytest.approx(2.0, abs=0.05)
    again = logit_normal(20000, mean=0.5, std=2.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(t, again)


def test_the_shift_keeps_its_ends_and_undoes_itself():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert shift(t, 8.5)[[0, -1]].tolist() == [0, 1]
    assert shift(0.5, 3.0) == 0.75
    torch.testing.assert_close(shift(shift(t, 8.5), 1 / 8.5), t)
    with pytest.raises(ValueError, match="alpha"):
        shift(t, 0.0)


def test_the_shift_follows_the_dimension():
    assert dimension_alpha(256, 1152) == pytest.approx(8.4853, abs=1e-4)
    assert dimension_alpha(16, 36, base=256) == 1.5


def test_the_clean_grid_runs_from_noise_to_data():
    grid = clean_grid(50, 8.4853)
    assert len(grid) == 51
    assert grid[[0, -1]].tolist() == [1, 0]
    assert (grid.diff() < 0).all()
    with pytest.raises(ValueError, match="steps"):
        clean_grid(0, 1.0)


def test_the_published_sampler_steps_down_and_once_back_up():
    grid, pairs = scale_rae_grid(50, 8.4853), scale_rae_transitions(50, 8.4853)
    assert len(grid) == 50
    assert pairs.shape == (49, 2)
    assert torch.equal(pairs[0], torch.stack([grid[48], grid[47]]))
    assert torch.equal(pairs[-2], torch.stack([grid[1], grid[0]]))
    assert torch.equal(pairs[-1], torch.stack([grid[48], grid[49]]))
    with pytest.raises(ValueError, match="steps"):
        scale_rae_grid(2, 1.0)


def test_euler_is_exact_where_the_velocity_is_constant_and_first_order_where_not(generator):
    x, e = torch.randn(2, 2, 3, 4, generator=generator)
    drawn = euler(lambda x_t, t: e - x, e, clean_grid(7, 2.0))
    torch.testing.assert_close(drawn, x)

    def error(steps):  # dx/dt = x from t = 1 to 0 ends at x / e
        got = euler(lambda x_t, t: x_t, torch.ones(1, 1), torch.linspace(1, 0, steps + 1))
        return abs(got.item() - 0.36787944)

    assert error(100) / error(200) == pytest.approx(2, abs=0.1)


def test_the_solver_keeps_state_and_time_in_float32():
    seen = []

    def velocity(x_t, t):
        seen.append((x_t.dtype, t.dtype, t.shape))
        return torch.zeros_like(x_t, dtype=torch.bfloat16)

    drawn = euler(velocity, torch.zeros(2, 3, dtype=torch.bfloat16), clean_grid(3, 1.0))
    assert drawn.dtype == torch.float32
    assert seen == [(torch.float32, torch.float32, (2,))] * 3


def test_progress_is_told_after_each_step_and_no_gradient_is_kept():
    steps, x = [], torch.zeros(1, 2, requires_grad=True)
    pairs = torch.tensor([[1.0, 0.5], [0.5, 0.0]])
    drawn = integrate_transitions(
        lambda x, t: x + 1, x, pairs, lambda i, x: steps.append((i, x.mean().item()))
    )
    assert steps == [(0, -0.5), (1, -0.75)]
    assert not drawn.requires_grad


def test_guidance_changes_the_velocity_by_the_formula():
    c, u = (lambda x, t: x + 1), (lambda x, t: x)
    x, t = torch.zeros(2, 3), torch.full((2,), 0.5)
    assert torch.equal(guided(c, u, 3.0)(x, t), torch.full((2, 3), 3.0))
    assert torch.equal(guided(c, u, 0.0)(x, t), x)


def test_guidance_is_skipped_where_it_changes_nothing():
    def never(x, t):
        raise AssertionError("the unconditional velocity was asked for")

    c = lambda x, t: x + 1  # noqa: E731
    x = torch.zeros(2, 3)
    for scale, interval in ((1.0, (0.0, 1.0)), (3.0, NEVER), (3.0, (0.2, 0.4))):
        assert torch.equal(guided(c, never, scale, interval)(x, torch.full((2,), 0.5)), x + 1)
