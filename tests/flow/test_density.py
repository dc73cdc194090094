"""Densities of training times: draws follow the pdfs, pdfs are densities, and m > 0 favours noise."""

from __future__ import annotations

import math

import pytest
import torch

from unimm.flow import DENSITIES, Density, shift
from unimm.flow.density import mode_from_uniform, mode_pdf, truncated_logit_normal_from_uniform

CASES = [
    Density("uniform"),
    Density("logit_normal"),
    Density("logit_normal", mean=0.5, std=0.6),
    Density("mode", scale=1.29),
    Density("mode", scale=-1.0),
    Density("mode", scale=0.0),
    Density("cosmap"),
    Density("truncated_uniform"),
    Density("truncated_logit_normal"),
    Density("truncated_logit_normal", mean=1.0, std=2.0, highest=0.9),
]


def draw(density, count=40000, seed=0):
    return density.draw(count, generator=torch.Generator().manual_seed(seed))


def test_every_kind_is_tried_here():
    assert {case.kind for case in CASES} == set(DENSITIES)


@pytest.mark.parametrize("density", CASES, ids=str)
def test_draws_follow_the_pdf(density):
    t = draw(density)
    assert t.dtype == torch.float32
    assert t.shape == (40000,)
    bins, parts = 20, 2000
    middle = (torch.arange(bins * parts, dtype=torch.float64) + 0.5) / (bins * parts)
    wanted = density.pdf(middle).reshape(bins, parts).mean(1) / bins
    assert wanted.sum().item() == pytest.approx(1, abs=2e-3)  # the ends of mode and cosmap are steep
    found = torch.histc(t, bins, 0, 1).double() / len(t)
    torch.testing.assert_close(found, wanted, atol=5 / math.sqrt(len(t)) * 0.5, rtol=0)


@pytest.mark.parametrize("density", CASES, ids=str)
def test_a_draw_is_a_function_of_its_generator(density):
    assert torch.equal(draw(density, 7, seed=3), draw(density, 7, seed=3))
    assert not torch.equal(draw(density, 7, seed=3), draw(density, 7, seed=4))


def test_a_positive_mean_favours_noise_and_shift_moves_the_mean():
    assert draw(Density("logit_normal", mean=1.0)).mean() > 0.65
    shifted = torch.logit(shift(draw(Density("logit_normal")).double(), 3.0))
    assert shifted.mean().item() == pytest.approx(math.log(3), abs=0.03)


def test_a_truncated_density_stops_where_it_says():
    t = torch.tensor([0.5, 0.95], dtype=torch.float64)
    for kind in ("truncated_uniform", "truncated_logit_normal"):
        density = Density(kind, highest=0.9)
        assert draw(density).max() <= 0.9
        assert density.pdf(t)[1] == 0
    ends = truncated_logit_normal_from_uniform(torch.tensor([0.0, 1.0], dtype=torch.float64), highest=0.9)
    torch.testing.assert_close(ends, torch.tensor([0.0, 0.9], dtype=torch.float64))


def test_the_pdf_of_mode_is_the_slope_of_its_inverse():
    u = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, requires_grad=True)
    t = mode_from_uniform(u, 1.29)
    [slope] = torch.autograd.grad(t.sum(), u)
    torch.testing.assert_close(mode_pdf(t.detach(), 1.29), 1 / slope.abs())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "logit_norml"}, "did you mean 'logit_normal'"),
        ({"kind": "uniform", "mean": 0.5}, "mean: the 'uniform' density does not use it"),
        ({"kind": "mode", "scale": 2.0}, r"scale: expected a mode scale in \[-1, 1.7519\]"),
        ({"kind": "logit_normal", "std": 0.0}, "expected a positive std"),
        ({"kind": "truncated_uniform", "highest": 1.5}, "highest between 0 and 1"),
    ],
)
def test_settings_that_make_no_density_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Density(**settings)
