"""Solvers against equations with known answers, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.flow import SOLVERS, clean_grid, dopri5_past_end, integrate_transitions

ORDERS = {"euler": 1, "heun": 2, "heun_euler_last": 2, "midpoint": 2, "rk4": 4, "rk4_38": 4}
EVALUATIONS = {"euler": 8, "heun": 16, "heun_euler_last": 15, "midpoint": 16, "rk4": 32, "rk4_38": 32}


def swirl(x, t):
    """dx/dt = (t + t^2) x, so x(0) = x(1) exp(-5/6)."""
    return (t + t * t)[:, None] * x


def error(solver, steps):
    x = torch.ones(2, 1, dtype=torch.float64)
    return abs(solver(swirl, x, clean_grid(steps))[0].item() - math.exp(-5 / 6))


def test_every_solver_is_tried_here():
    assert set(SOLVERS) == {*ORDERS, "dopri5"}


@pytest.mark.parametrize("kind", ORDERS)
def test_the_error_falls_with_the_order_of_the_method(kind):
    ratio = error(SOLVERS[kind], 40) / error(SOLVERS[kind], 80)
    assert math.log2(ratio) == pytest.approx(ORDERS[kind], abs=0.2)


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_evaluations_and_steps_are_counted(kind):
    times, steps = [], []

    def velocity(x, t):
        assert t.shape == (3,)
        assert t.dtype == x.dtype == torch.float32
        times.append(t[0].item())
        return torch.zeros_like(x, dtype=torch.bfloat16)

    drawn = SOLVERS[kind](velocity, torch.ones(3, 2), clean_grid(8), lambda i, x: steps.append(i))
    assert torch.equal(drawn, torch.ones(3, 2))
    assert len(times) == EVALUATIONS[kind]
    assert steps == list(range(8))
    assert times[0] == 1
    assert min(times) >= 0


def test_the_adaptive_solver_is_as_exact_as_asked_and_tells_its_steps():
    states = []
    loose, tight = (
        SOLVERS["dopri5"](
            swirl,
            torch.ones(2, 1, dtype=torch.float64),
            torch.tensor([1.0, 0.0]),
            lambda i, x, to=to: to.append((i, x)),
            relative_tolerance=r,
            absolute_tolerance=r,
        )
        for r, to in ((1e-3, []), (1e-10, states))
    )
    exact = math.exp(-5 / 6)
    assert abs(tight[0].item() - exact) < 1e-8
    assert abs(tight[0].item() - exact) < abs(loose[0].item() - exact)
    assert [i for i, _ in states] == list(range(len(states)))
    assert len(states) > 3
    assert torch.equal(states[-1][1], tight)


def test_the_adaptive_solver_asks_for_no_time_beyond_the_ends_and_the_published_one_does():
    for solver, beyond in ((SOLVERS["dopri5"], False), (dopri5_past_end, True)):
        times = []

        def velocity(x, t, times=times):
            times.append(t[0].item())
            return swirl(x, t)

        solver(velocity, torch.ones(2, 1), clean_grid(2))
        assert max(times) == 1
        assert (min(times) < -0.01) == beyond
        assert (min(times) < 0) == beyond


def test_an_adaptive_solver_that_cannot_go_on_says_so():
    def wall(x, t):
        return torch.full_like(x, math.nan)

    with pytest.raises(ValueError, match="dopri5: expected a velocity it can follow|finite"):
        SOLVERS["dopri5"](wall, torch.ones(1, 1), clean_grid(2))


def test_solvers_run_back_from_data_to_noise():
    x = torch.ones(1, 1, dtype=torch.float64)
    there = SOLVERS["rk4"](swirl, x, clean_grid(50))
    back = SOLVERS["rk4"](swirl, there, clean_grid(50).flip(0))
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", SOLVERS)
def test_bad_input_is_refused(kind):
    solver, x, grid = SOLVERS[kind], torch.ones(2, 3), clean_grid(4)
    with pytest.raises(ValueError, match="x: expected finite numbers, got 1 of 6"):
        solver(swirl, x.clone().index_put_((torch.tensor(0), torch.tensor(1)), torch.tensor(math.inf)), grid)
    with pytest.raises(ValueError, match="velocity: expected the shape of x"):
        solver(lambda x, t: x[:, :1], x, grid)
    with pytest.raises(ValueError, match="drawn latents: expected finite|gave up"):
        solver(lambda x, t: torch.full_like(x, math.inf), x, grid)
    with pytest.raises(ValueError, match=r"grid: expected times in \[0, 1\]"):
        solver(swirl, x, 1000 * grid)
    with pytest.raises(ValueError, match="grid: expected at least two times"):
        solver(swirl, x, grid[:1])


def test_transitions_are_not_stopped_to_look_at_numbers():
    drawn = integrate_transitions(swirl, torch.full((1, 1), math.nan), torch.tensor([[1.0, 0.5]]))
    assert drawn.isnan().all()


def test_a_time_that_rounds_past_one_is_one():
    grid = clean_grid(4).float()
    grid[0] = 1 + 2e-7
    SOLVERS["euler"](swirl, torch.ones(1, 1), grid)
    with pytest.raises(ValueError, match="grid: expected times"):
        SOLVERS["euler"](swirl, torch.ones(1, 1), grid + 1e-5)
