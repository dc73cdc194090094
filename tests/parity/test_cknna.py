"""CKNNA and its kin against the numbers of the Platonic Representation code."""

from __future__ import annotations

import re

import pytest
import torch

from unimm.alignment import cka, cknna, mutual_neighbours, unit_rows

TOLERANCE = {"atol": 2e-5, "rtol": 2e-5}
OTHER = {"same": "in.A", "correlated": "in.B_correlated", "independent": "in.C_independent"}
SCALED = {"l2": unit_rows, "raw": lambda x: x}


def measured(name, tensors):
    """Return what we compute for a recorded name such as `cknna.same.k10.unbiased.l2`."""
    what, pair, *rest = name.split(".")
    a, b = tensors["in.A"], tensors[OTHER[pair]]
    if what == "cknna":
        k, estimator, scaled = rest
        return cknna(SCALED[scaled](a), SCALED[scaled](b), int(k[1:]), estimator)
    a, b = unit_rows(a), unit_rows(b)
    if neighbours := re.fullmatch(r"mutual_knn(\d+)", what):
        return mutual_neighbours(a, b, int(neighbours[1]))
    return cka(a, b, {"cka": "biased", "unbiased_cka": "unbiased"}[what])


@pytest.mark.parity("repa/cknna")
def test_every_recorded_number(recorded):
    wanted = recorded.under("out.")
    assert wanted
    ours = {name: torch.tensor(measured(name, recorded.tensors)) for name in wanted}
    torch.testing.assert_close(ours, dict(wanted), **TOLERANCE)
