"""Schedules, densities, weights and averages against numbers recorded from diffusers and SD3's formulas."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import nn

from tests.parity.recorded_flow import beside, cases
from unimm.flow import Weight, clean_grid, density, dynamic_mu, euler, interpolate, renoising, shift, weights
from unimm.flow.grids import (
    diffusers_grid,
    diffusers_single_grid,
    diffusers_training_times,
    exponential_grid,
    inverted_grid,
    karras_grid,
    stretched_grid,
)
from unimm.training import ema
from unimm.training.ema import EMA
from unimm.training.optim import Group, Member

SCHEDULE = {"atol": 1e-6, "rtol": 0}
EXACT = {"atol": 1e-12, "rtol": 1e-12}
EULER = pytest.mark.parity("sd3/flow_match_euler")
DENSITY = pytest.mark.parity("sd3/density_weighting_ema")
NUMBER = r"(-?[\d.]+)"


def close(ours, wanted, **tolerance):
    torch.testing.assert_close(ours.to(wanted.dtype), wanted, **tolerance)


@EULER
def test_training_tables(recorded):
    for (alpha, what), wanted in cases(recorded, rf"train\.shift{NUMBER}\.(sigmas|timesteps)"):
        ours = diffusers_training_times(float(alpha))
        close(ours * (1000 if what == "timesteps" else 1), wanted, atol=1e-6, rtol=1e-6)


@EULER
@pytest.mark.parametrize(
    ("suffix", "grid"),
    [
        ("sigmas", diffusers_grid),
        ("via_set_shift.sigmas", diffusers_single_grid),
        ("explicit_linspace.sigmas", clean_grid),
        ("formula_linspace_1_to_0.sigmas_f64", clean_grid),
        ("use_karras_sigmas.sigmas", karras_grid),
        ("use_exponential_sigmas.sigmas", exponential_grid),
        ("invert.sigmas", lambda steps, alpha: inverted_grid(diffusers_grid(steps, alpha))),
        ("timesteps", lambda steps, alpha: 1000 * diffusers_grid(steps, alpha)[:-1]),
        ("invert.timesteps", lambda steps, alpha: 1000 * inverted_grid(diffusers_grid(steps, alpha))[:-1]),
    ],
)
def test_grids(recorded, suffix, grid):
    for (alpha, steps), wanted in cases(recorded, rf"infer\.shift{NUMBER}\.steps(\d+)\.{suffix}"):
        tolerance = EXACT if suffix.endswith("f64") else {"atol": 1e-6, "rtol": 2e-6}
        close(grid(int(steps), float(alpha)), wanted, **tolerance)


@EULER
def test_dynamic_grids(recorded):
    mus = beside(recorded)["mus"]
    for num_tokens, mu in mus.items():
        assert dynamic_mu(int(num_tokens)) == pytest.approx(mu, abs=1e-12)
    alphas = {"exponential": lambda mu: torch.tensor(mu).double().exp().item(), "linear": lambda mu: mu}
    name = r"dynamic\.(exponential|linear)\.seq(\d+)\.steps(\d+)(?:\.terminal([\d.]+))?\.sigmas"
    for (kind, num_tokens, steps, terminal), wanted in cases(recorded, name):
        grid = diffusers_single_grid(int(steps), alphas[kind](mus[num_tokens]))
        close(stretched_grid(grid, float(terminal)) if terminal else grid, wanted, **SCHEDULE)


@EULER
def test_steps_with_and_without_noise(recorded):
    get = recorded.tensors.__getitem__
    velocities, noises = get("step.velocities"), get("step.stochastic.noises")
    grid = grid_of_steps(recorded, len(velocities))
    for kind, solver in (("euler", euler), ("stochastic", partial(renoising, draw=lambda i, x: noises[i]))):
        states, call = [], iter(velocities)
        solver(
            lambda x, t, call=call: next(call),
            get("step.x_start"),
            grid,
            lambda i, x, to=states: to.append(x),
        )
        assert len(states) == len(velocities)
        for i, x in enumerate(states):
            close(x, get(f"step.{kind}.x_after{i}"), atol=1e-5, rtol=1e-5)


def grid_of_steps(recorded, steps):
    """Return the recorded default grid of that many steps whose first Euler step is the recorded one."""
    get = recorded.tensors.__getitem__
    moved = (get("step.euler.x_after0") - get("step.x_start")).flatten().double()
    length = (moved @ get("step.velocities")[0].flatten().double()) / get("step.velocities")[
        0
    ].double().square().sum()
    grids = [diffusers_grid(steps, float(a)) for (a,), _ in cases(recorded, rf"train\.shift{NUMBER}\.sigmas")]
    return min(grids, key=lambda grid: abs(grid[1] - grid[0] - length))


@EULER
def test_noise_is_mixed_in_by_the_same_path(recorded):
    get = recorded.tensors.__getitem__
    found = []
    for (alpha,), table in cases(recorded, rf"train\.shift{NUMBER}\.sigmas"):
        t = diffusers_training_times(float(alpha))[get("scale_noise.index")].float()
        ours = interpolate(get("scale_noise.sample"), get("scale_noise.noise"), t)
        found.append(torch.allclose(ours, get("scale_noise.out"), atol=1e-6))
        assert len(table) == len(diffusers_training_times())
    assert any(found), "the recorded mixture belongs to one of the tables"


@DENSITY
def test_logit_normal(recorded):
    name = rf"logit_normal\.m{NUMBER}\.s{NUMBER}\.(\w+)"
    for (mean, std, what), wanted in cases(recorded, name):
        values = {"mean": float(mean), "std": float(std)}
        if what == "pdf_paper_f64":
            close(density.logit_normal_pdf(recorded.tensors["grid.t"], **values), wanted, **EXACT)
        elif seed := re.fullmatch(r"diffusers_seed(\d+)", what):
            generator = torch.Generator().manual_seed(int(seed[1]))
            close(density.logit_normal(len(wanted), **values, generator=generator), wanted, **SCHEDULE)
        elif seed := re.fullmatch(r"underlying_normal_seed(\d+)", what):
            drawn = recorded.tensors[f"logit_normal.m{mean}.s{std}.diffusers_seed{seed[1]}"]
            close(torch.sigmoid(wanted), drawn, **SCHEDULE)
        else:
            raise AssertionError(what)


@DENSITY
def test_uniform_mode_and_cosmap(recorded):
    u, t = recorded.under("u."), recorded.tensors["grid.t"]
    for (scale, what), wanted in cases(recorded, rf"mode\.s{NUMBER}\.(\w+)"):
        scale = float(scale)
        if what == "paper_of_grid_f64":
            close(density.mode_from_uniform(t, scale), wanted, **EXACT)
        else:
            seed = what.removeprefix("diffusers_")
            generator = torch.Generator().manual_seed(int(seed.removeprefix("seed")))
            close(density.mode_from_uniform(u[seed], scale), wanted, **SCHEDULE)
            close(density.mode(len(wanted), scale, generator=generator), wanted, **SCHEDULE)
    for (seed,), wanted in cases(recorded, r"uniform\.diffusers_seed(\d+)"):
        generator = torch.Generator().manual_seed(int(seed))
        assert torch.equal(density.uniform(len(wanted), generator=generator), wanted)
    [(_, wanted)] = cases(recorded, r"cosmap\.paper_of_u_f64")
    [drawn] = u.values()
    close(density.cosmap_from_uniform(drawn.double()), wanted, **EXACT)
    close(density.cosmap_pdf(t), recorded.tensors["cosmap.pdf_paper_f64"], **EXACT)


@DENSITY
def test_weights_of_diffusers(recorded):
    ours = {"sigma_sqrt": "diffusers_sigma_sqrt", "cosmap": "cosmap"}
    t = recorded.tensors["weight.sigmas"]
    for (name,), wanted in cases(recorded, r"weight\.(\w+)"):
        if name != "sigmas":
            close(Weight(ours.get(name, "rf"))(t), wanted, atol=1e-5, rtol=1e-5)


@DENSITY
def test_weights_and_shifts_of_the_paper(recorded):
    get, t = recorded.tensors.__getitem__, recorded.tensors["grid.t"]
    back = t / (1 - t)  # from the weight of the velocity error to the paper's w_t on the straight path
    close(weights.log_snr(t), get("paper.lambda_rf_f64"), **EXACT)
    close(Weight("rf")(t) * back, get("paper.w_rf_f64"), **EXACT)
    for kind in ("eps", "v"):
        # The recorded w stand at the times of the cosine schedule; ours at those of the straight path.
        same_noise = torch.sigmoid(-get("paper.lambda_cos_f64") / 2)
        ours = Weight(f"cosine_{kind}")(same_noise) * same_noise / (1 - same_noise)
        close(ours, get(f"paper.w_cos_{kind}_f64"), atol=1e-10, rtol=1e-10)
    for (mean, std), lam in cases(recorded, rf"paper\.edm\.pm{NUMBER}\.ps{NUMBER}\.lambda_f64"):
        same_noise = torch.sigmoid(-lam / 2)
        ours = Weight("edm", mean=float(mean), std=float(std))(same_noise) * same_noise / (1 - same_noise)
        close(ours, get(f"paper.edm.pm{mean}.ps{std}.w_f64"), atol=1e-10, rtol=1e-10)
    for (alpha,), wanted in cases(recorded, rf"paper\.shift{NUMBER}_of_grid_f64"):
        close(shift(t, float(alpha)), wanted, **EXACT)


@DENSITY
def test_averages_of_diffusers(recorded):
    parameter = nn.Parameter(recorded.tensors["ema.init"].clone())
    average = EMA([Member("w", parameter, Group())], 0.9, ema.diffusers)
    num_updates = len(recorded.under("ema.param"))
    assert num_updates
    for i in range(num_updates):
        parameter.data.copy_(recorded.tensors[f"ema.param{i}"])
        average.update()
        close(
            average.averages[0].view_as(parameter), recorded.tensors[f"ema.shadow{i}"], atol=1e-6, rtol=1e-6
        )


@DENSITY
def test_decays_of_diffusers(recorded):
    tables = beside(recorded)["ema"]
    assert tables
    for name, table in tables.items():
        for step, wanted in table.items():
            assert decay_named(name)(int(step) - 1) == pytest.approx(wanted, abs=1e-12), (name, step)


def decay_named(name):
    """Return the decay of an update by how many came before it, for a recorded table's name."""
    if found := re.fullmatch(r"after(\d+)", name):
        return partial(ema.diffusers, decay=0.9999, after=int(found[1]))
    if found := re.fullmatch(r"decay([\d.]+)", name):
        return partial(ema.diffusers, decay=float(found[1]))
    if found := re.fullmatch(r"warmup_(\d+)_(\d+)", name):
        return partial(ema.diffusers_warmup, decay=0.9999, power=int(found[1]) / int(found[2]))
    assert name == "default", name
    return partial(ema.diffusers, decay=0.9999)
