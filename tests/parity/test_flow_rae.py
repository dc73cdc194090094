"""Times, grids, ODE solvers and paths against numbers recorded from RAE.

Its recorded SDE runs carry the published loop's defect under shift; tests/flow/test_sde.py holds ours to the
closed form instead.
"""

from __future__ import annotations

import re

import pytest
import torch

from tests.parity.recorded_flow import TORCHDIFFEQ, cases, recorded_velocity
from unimm.flow import PATHS, noise_of, score_of, shift
from unimm.flow.density import truncated_logit_normal_from_uniform
from unimm.flow.grids import rae_grid

TOLERANCE = {"atol": 2e-5, "rtol": 0}
RAE = pytest.mark.parity("rae/transport_analytic")


def alpha_of(text):
    """Return the shift whose four digits are in a name: sqrt of a whole number over 4096."""
    return round(float(text) ** 2 * 4096) ** 0.5 / 64


@RAE
def test_grids(recorded):
    for (points, alpha), grid in cases(recorded, r"out\.grid\.n(\d+)\.shift([\d.]+)"):
        ours = rae_grid(int(points) - 1, alpha_of(alpha))
        torch.testing.assert_close(ours.float(), grid, atol=1e-6, rtol=0)


@RAE
def test_ode_solvers(recorded):
    for (method, points, alpha), wanted in cases(recorded, r"out\.ode\.(\w+)\.n(\d+)\.shift([\d.]+)"):
        grid = rae_grid(int(points) - 1, alpha_of(alpha))
        drawn = TORCHDIFFEQ[method](recorded_velocity(recorded), recorded.tensors["in.noise"], grid)
        torch.testing.assert_close(drawn, wanted, **TOLERANCE, msg=lambda m, of=method: f"{of}: {m}")


@RAE
def test_training_times(recorded):
    u = recorded.tensors["in.train_uniform_u"]
    for (kind, alpha), wanted in cases(recorded, r"out\.train_t\.([\w-]+)\.shift([\d.]+)"):
        if kind == "uniform":
            base = 0.999 * u
        else:
            mean, std = map(float, re.fullmatch(r"logit-normal_([-\d.]+)_([\d.]+)", kind).groups())
            base = truncated_logit_normal_from_uniform(u, mean, std)
        torch.testing.assert_close(shift(base, alpha_of(alpha)), wanted, **TOLERANCE)


@RAE
def test_score_and_noise_of_a_velocity(recorded):
    get = recorded.tensors.__getitem__
    x, t, v = get("in.noise"), get("in.t_for_score"), get("out.velocity_at_t")
    torch.testing.assert_close(recorded_velocity(recorded)(x, t), v, **TOLERANCE)
    torch.testing.assert_close(noise_of(v, x, t), get("out.noise_from_velocity"), **TOLERANCE)
    torch.testing.assert_close(score_of(v, x, t), get("out.score_from_velocity"), **TOLERANCE)
    on_path = PATHS["linear"]
    torch.testing.assert_close(on_path.noise_of(v, x, t), get("out.noise_from_velocity"), **TOLERANCE)
    torch.testing.assert_close(on_path.score_of(v, x, t), get("out.score_from_velocity"), **TOLERANCE)


@RAE
def test_paths(recorded):
    t = recorded.tensors["in.t_for_score"].double()
    ours = {"GVP": PATHS["cosine"], "VP": PATHS["rae_vp"]}
    names = {"alpha": "alpha", "sigma": "sigma", "dalpha": "alpha_slope", "dsigma": "sigma_slope"}
    for (path, what), wanted in cases(recorded, r"out\.path\.(\w+)\.(\w+)"):
        value = getattr(ours[path], names[what])(t).float()
        torch.testing.assert_close(value, wanted, **TOLERANCE, msg=lambda m, of=(path, what): f"{of}: {m}")
