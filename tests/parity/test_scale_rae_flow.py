"""Schedule, loss, sampler and guidance against numbers recorded from Scale-RAE."""

from __future__ import annotations

import math
import re

import pytest
import torch

from unimm.dit import DiTConfig, LightningDiT
from unimm.dit.time import fourier_frequencies
from unimm.flow import (
    NEVER,
    dimension_alpha,
    euler,
    guided,
    integrate_transitions,
    scale_rae_grid,
    scale_rae_transitions,
    shift,
    velocity_loss,
)
from unimm.flow.grids import scale_rae_indices
from unimm.latents import LatentStatistics
from unimm.weights import DIT, FLOW_HEAD, dit_sizes, load_strictly

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def tokens(maps):
    """Return [B N C] of [B C rows columns]."""
    return maps.flatten(2).mT


def build(parameters, sizes):
    dit = LightningDiT(DiTConfig(**sizes))
    load_strictly(dit, parameters)
    return dit.eval()


def guidance(dit, conditions, scale, **options):
    null = dit.drop_conditions(conditions, torch.ones(len(conditions), dtype=torch.bool))
    return guided(lambda x, t: dit(x, t, conditions), lambda x, t: dit(x, t, null), scale, **options)


@pytest.mark.parity("scale_rae/fourier_W")
def test_the_time_frequencies_are_shipped_exactly(recorded):
    assert torch.equal(fourier_frequencies(), recorded.tensors["W"])


@pytest.mark.parity("scale_rae/schedule")
def test_the_published_grid_and_shift(recorded):
    [steps] = (int(m[1]) for m in (re.fullmatch(r"used_indices_(\d+)", k) for k in recorded.tensors) if m)
    assert torch.equal(scale_rae_indices(steps), recorded.tensors[f"used_indices_{steps}"])
    shifts = recorded.under("shift_of_u.")
    assert shifts
    for name, shifted in shifts.items():
        num_tokens, channels = map(int, re.search(r"(\d+)x(\d+)$", name).groups())
        alpha = dimension_alpha(num_tokens, channels)
        u = torch.linspace(0.02, 0.98, len(shifted), dtype=torch.float64)
        torch.testing.assert_close(shift(u, alpha), shifted, atol=1e-12, rtol=0)
        torch.testing.assert_close(scale_rae_grid(steps, alpha), recorded.tensors[name], atol=1e-12, rtol=0)


@pytest.mark.parity("scale_rae/dit_tiny")
def test_the_dit_predicts_the_recorded_velocity(recorded):
    theirs = recorded.under("param.")
    parameters, tables = DIT.read(theirs)
    dit = build(parameters, dit_sizes(theirs))
    x, t, y = tokens(recorded.tensors["in.x"]), recorded.tensors["in.t"], recorded.tensors["in.y"]
    assert len(tables) == 3
    for name, table in tables.items():
        torch.testing.assert_close(getattr(dit, name), table, **TOLERANCE)
    with torch.no_grad():
        torch.testing.assert_close(dit.time(t, dit.frequencies), recorded.tensors["mid.t_emb"], **TOLERANCE)
        torch.testing.assert_close(dit(x, t, y), tokens(recorded.tensors["out.v"]), **TOLERANCE)


@pytest.mark.parity("scale_rae/dit_tiny")
@pytest.mark.parametrize(
    ("name", "interval"), [("cfg3_empty_bypass_interval", (0.0, 1.0)), ("cfg3_official_interval", NEVER)]
)
def test_guidance_acts_or_is_dead_as_recorded(recorded, name, interval):
    theirs = recorded.under("param.")
    dit = build(DIT.read(theirs)[0], dit_sizes(theirs))
    x, t, y = tokens(recorded.tensors["in.x"]), recorded.tensors["in.t"], recorded.tensors["in.y"]
    with torch.no_grad():
        v = guidance(dit, y, 3.0, interval=interval)(x, t)
    both = torch.cat([v, v])  # recorded with the batch doubled: conditional rows, then unconditional
    torch.testing.assert_close(both, tokens(recorded.tensors[f"out.{name}"]), **TOLERANCE)


class Head:
    """DiT, statistics and inputs of one recorded flow head."""

    def __init__(self, recorded):
        theirs, get = recorded.under("param."), recorded.tensors.__getitem__
        parameters, _ = FLOW_HEAD.read(theirs)
        sizes = dit_sizes(theirs, "model.")
        own = {k.removeprefix("dit."): x for k, x in parameters.items() if k.startswith("dit.")}
        self.dit = build(own, sizes)
        self.statistics = LatentStatistics(sizes["grid"] ** 2, sizes["channels"])
        if "statistics.mean" in parameters:
            self.statistics.set(parameters["statistics.mean"], parameters["statistics.std"])
        self.x, self.noise, self.conditions = get("in.x"), tokens(get("in.noise_bchw")), get("in.z")
        base = int(recorded.metadata["base_dim"])
        self.alpha = dimension_alpha(sizes["grid"] ** 2, sizes["channels"], base)

    def velocity(self, x, t):
        return self.dit(x, t, self.conditions)


FLOWS = pytest.mark.parity("scale_rae/flow_plain", "scale_rae/flow_stats")


@FLOWS
def test_the_loss_of_each_sample(recorded):
    head = Head(recorded)
    with torch.no_grad():
        x = head.statistics.normalise(head.x)
        loss = velocity_loss(head.velocity, x, head.noise, recorded.tensors["in.t"])
    torch.testing.assert_close(loss, recorded.tensors["out.loss_per_sample"], **TOLERANCE)


@FLOWS
def test_normal_draws_become_shifted_times(recorded):
    head = Head(recorded)
    assert math.isclose(head.alpha, float(recorded.metadata["alpha"]))
    t = shift(torch.sigmoid(recorded.tensors["in.u_normal_4096"]), head.alpha)
    torch.testing.assert_close(t, recorded.tensors["out.t_shifted_4096"], **TOLERANCE)


@FLOWS
def test_the_reference_sampler_with_all_its_quirks(recorded):
    head, pairs = Head(recorded), recorded.tensors["mid.transitions_official"]
    transitions = scale_rae_transitions(len(pairs) + 1, head.alpha)
    torch.testing.assert_close(transitions, pairs, atol=1e-6, rtol=0)
    visited = []
    drawn = integrate_transitions(head.velocity, head.noise, transitions, lambda i, x: visited.append(i))
    assert visited == list(range(len(pairs)))
    wanted = recorded.tensors["out.sample_official_50"]
    torch.testing.assert_close(head.statistics.restore(drawn), wanted, **TOLERANCE)


@FLOWS
@pytest.mark.parametrize(
    ("name", "interval"), [("cfg3_interval_emptied", (0.0, 1.0)), ("official_cfg3_noop", NEVER)]
)
def test_the_reference_sampler_with_guidance(recorded, name, interval):
    head, pairs = Head(recorded), recorded.tensors["mid.transitions_official"]
    transitions = scale_rae_transitions(len(pairs) + 1, head.alpha)
    velocity = guidance(head.dit, head.conditions, 3.0, interval=interval)
    with torch.no_grad():
        drawn = integrate_transitions(velocity, head.noise, transitions)
    wanted = recorded.tensors[f"out.sample_{name}"]
    torch.testing.assert_close(head.statistics.restore(drawn), wanted, **TOLERANCE)


@FLOWS
def test_plain_euler_over_the_same_grid(recorded):
    head, pairs = Head(recorded), recorded.tensors["mid.transitions_official"]
    drawn = euler(head.velocity, head.noise, scale_rae_grid(len(pairs) + 1, head.alpha).flip(0))
    wanted = recorded.tensors["out.sample_textbook_euler_same_grid"]
    torch.testing.assert_close(head.statistics.restore(drawn), wanted, **TOLERANCE)


@pytest.mark.parity("scale_rae/dit_tiny", "scale_rae/flow_plain", "scale_rae/flow_stats")
def test_names_read_and_written_back_are_the_published_ones(recorded):
    published = recorded.under("param.")
    names = FLOW_HEAD if "model.pos_embed" in published else DIT
    parameters, tables = names.read(published)
    written = names.write(parameters | tables)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[k], published[k]) for k in published)
