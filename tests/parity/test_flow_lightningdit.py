"""Grids, solvers, SDEs and paths against numbers recorded from LightningDiT, whose t = 0 is noise.

Its transport code is SiT's with a timestep shift s: our alpha is 1 / s.
"""

from __future__ import annotations

import pytest
import torch

from tests.parity.recorded_flow import TORCHDIFFEQ, cases, recorded_velocity
from unimm.flow import DIFFUSIONS, PATHS, clean_grid, euler_maruyama, heun_maruyama, score_of
from unimm.flow.grids import inverted_grid, sde_grid

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
SIT = pytest.mark.parity("lightningdit/transport_sit_convention")
NOISES = {
    "sigma": "proportional",
    "linear": "proportional",
    "constant": "constant",
    "decreasing": "decreasing",
    "inccreasing-decreasing": "hump",
    "increasing-decreasing": "hump",
}


def alpha_of(timestep_shift):
    return 1 / float(timestep_shift) if float(timestep_shift) else 1.0


@SIT
def test_grids(recorded):
    for (points, timestep_shift), wanted in cases(recorded, r"out\.grid\.n(\d+)\.shift([\d.]+)"):
        ours = inverted_grid(clean_grid(int(points) - 1, alpha_of(timestep_shift)))
        torch.testing.assert_close(ours.float(), wanted, atol=1e-6, rtol=0)


@SIT
def test_ode_solvers(recorded):
    for (method, points, timestep_shift), wanted in cases(
        recorded, r"out\.ode\.(\w+)\.n(\d+)\.shift([\d.]+)"
    ):
        grid = clean_grid(int(points) - 1, alpha_of(timestep_shift))
        drawn = TORCHDIFFEQ[method](recorded_velocity(recorded), recorded.tensors["in.noise"], grid)
        torch.testing.assert_close(drawn, wanted, **TOLERANCE, msg=lambda m, of=method: f"{of}: {m}")


@SIT
def test_sde_samplers(recorded):
    noise, ours = recorded.tensors["in.sde_noise"], {"Euler": euler_maruyama, "Heun": heun_maruyama}
    for (method, kind, points), wanted in cases(recorded, r"out\.sde\.(Euler|Heun)\.([\w-]+)\.n(\d+)"):
        drawn = ours[method](
            recorded_velocity(recorded),
            recorded.tensors["in.noise"],
            sde_grid(int(points)),
            draw=lambda i, x: noise[i],
            diffusion=DIFFUSIONS[NOISES[kind]],
        )
        torch.testing.assert_close(drawn, wanted, **TOLERANCE, msg=lambda m, of=(method, kind): f"{of}: {m}")


@SIT
def test_score_of_a_velocity(recorded):
    x, t = recorded.tensors["in.noise"], 1 - recorded.tensors["in.t_for_score"]
    v = -recorded.tensors["out.velocity_at_t"]
    torch.testing.assert_close(recorded_velocity(recorded)(x, t), v, **TOLERANCE)
    torch.testing.assert_close(score_of(v, x, t), recorded.tensors["out.score_from_velocity"], **TOLERANCE)


@SIT
def test_paths_and_their_own_diffusion(recorded):
    t = 1 - recorded.tensors["in.t_for_score"].double()
    ours = {"Linear": PATHS["linear"], "GVP": PATHS["cosine"], "VP": PATHS["vp"]}
    values = {
        "alpha": lambda path: path.alpha(t),
        "sigma": lambda path: path.sigma(t),
        "dalpha": lambda path: -path.alpha_slope(t),
        "dsigma": lambda path: -path.sigma_slope(t),
        "drift_var": lambda path: path.sbdm_diffusion(t),
    }
    for (path, what), wanted in cases(recorded, r"out\.path\.(\w+)\.(\w+)"):
        value = values[what](ours[path]).float().reshape(wanted.shape)
        torch.testing.assert_close(value, wanted, **TOLERANCE, msg=lambda m, of=(path, what): f"{of}: {m}")
