"""Samplers by name are the solvers; pictures depend on their own seeds, and passes change nothing."""

from __future__ import annotations

import pytest
import torch

from unimm.flow import SOLVERS, clean_grid, draws, euler_maruyama, heun_maruyama, integrate_transitions
from unimm.flow.grids import scale_rae_transitions
from unimm.flow.sampling import SAMPLERS, Sampling, draw_latents, draw_states, even_passes

SHAPE, ALPHA, CPU = (3, 2), 1.7, torch.device("cpu")


def bend(x, t):
    return torch.sin(3 * x) + t.reshape(-1, 1, 1)


def noise(seed: int):
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


def last(solver: str, seeds=(5,), **options):
    *_, state = draw_states(bend, seeds, SHAPE, Sampling(4, solver=solver, **options), ALPHA, CPU)
    return state


@pytest.mark.parametrize("name", SOLVERS)
def test_a_row_of_samplers_is_the_solver_of_that_name(name):
    expected = SOLVERS[name](bend, noise(5), clean_grid(4, ALPHA))
    assert torch.equal(last(name).latents, expected)


@pytest.mark.parametrize(
    ("name", "solver"), [("euler_maruyama", euler_maruyama), ("heun_maruyama", heun_maruyama)]
)
def test_noise_on_the_way_is_the_pictures_own(name, solver):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1, *SHAPE, generator=generator)
    expected = solver(bend, x, clean_grid(4, ALPHA), draw=draws([generator]))
    assert torch.equal(last(name).latents, expected)
    torch.testing.assert_close(last(name, (2, 5)).latents[1:], expected)


def test_two_samplers_bring_their_own_times():
    assert torch.equal(last("clean").latents, last("euler").latents)
    expected = integrate_transitions(bend, noise(5), scale_rae_transitions(4, ALPHA))
    assert torch.equal(last("scale_rae").latents, expected)
    assert last("scale_rae").total == 3
    with pytest.raises(ValueError, match="grid: the solver 'clean' brings its own times, got 'rae'"):
        Sampling(4, solver="clean", grid="rae")


@pytest.mark.parametrize("name", SAMPLERS)
def test_passes_change_nothing_and_are_counted_together(name):
    sampling, told, seen = Sampling(4, solver=name), [], []
    options = {"callback": lambda *step: told.append(step), "on_step": lambda *step: seen.append(step)}
    seeds = [3, 1, 4, 1, 5]
    found = draw_latents(lambda piece: bend, seeds, SHAPE, sampling, ALPHA, CPU, **options, batch_size=2)
    alone = [draw_latents(lambda piece: bend, [s], SHAPE, sampling, ALPHA, CPU) for s in seeds]
    torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=1e-5)
    assert [step for step, _ in told] == list(range(1, told[-1][1] + 1))
    assert [(step, total) for step, total, _ in seen] == told
    assert torch.equal(seen[-1][2], found[-len(seen[-1][2]) :])


def test_passes_are_as_few_as_fit_and_even():
    assert [piece.stop - piece.start for piece in even_passes(70, 64)] == [35, 35]
    assert [piece.stop - piece.start for piece in even_passes(5, 2)] == [1, 2, 2]
    assert even_passes(0, 4) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solver": "eulr"}, "solver: .* did you mean 'euler'"),
        ({"grid": "raee"}, "grid: .* did you mean 'rae'"),
        ({"num_inference_steps": 0}, "num_inference_steps: expected at least 1, got 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale: expected a finite number"),
        ({"guidance_interval": (0.9, 0.1)}, "interval: expected"),
    ],
)
def test_what_no_sampler_can_do_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Sampling(**options)
