"""Samplers in float64 against numbers recorded from REPA."""

from __future__ import annotations

import re

import pytest
import torch

from tests.parity.recorded_flow import recorded_velocity
from unimm.flow import clean_grid, euler, euler_maruyama, heun_euler_last
from unimm.flow.grids import sde_grid

TOLERANCE = {"atol": 1e-13, "rtol": 1e-12}
REPA = pytest.mark.parity("repa/samplers_analytic_f64")


@REPA
def test_euler_and_heun(recorded):
    solvers, seen = {"euler": euler, "heun": heun_euler_last}, set()
    for name, wanted in recorded.tensors.items():
        if found := re.fullmatch(r"out\.(euler|heun)\.n(\d+)", name):
            seen.add(found[1])
            start = recorded.tensors["in.latents"].double()
            drawn = solvers[found[1]](recorded_velocity(recorded), start, clean_grid(int(found[2])))
            torch.testing.assert_close(drawn, wanted, **TOLERANCE)
    assert seen == {"euler", "heun"}


@REPA
def test_euler_maruyama(recorded):
    noise, start = recorded.tensors["in.em_noise"], recorded.tensors["in.latents"].double()
    runs = [(int(n[len("out.em.n") :]), x) for n, x in recorded.tensors.items() if n.startswith("out.em.n")]
    assert runs
    for points, wanted in runs:
        assert len(noise) == points - 1
        grid = sde_grid(points)
        drawn = euler_maruyama(recorded_velocity(recorded), start, grid, draw=lambda i, x: noise[i])
        torch.testing.assert_close(drawn, wanted, **TOLERANCE)
