"""Diffusion-DPO and Flow-GRPO's step against numbers recorded from their formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tests.parity.recorded_flow import beside, cases
from unimm.flow import dpo_loss, grpo_step, grpo_trajectory, preference_loss

EXACT = {"atol": 1e-10, "rtol": 1e-10}
PREFERENCE = pytest.mark.parity("sd3/flow_dpo_and_sde_step")


def errors(recorded):
    """Return winner's and loser's errors of the network, then those of the reference, float64 [B]."""
    tensors = {name: x.double() for name, x in recorded.under("dpo.").items()}
    pairs = [(who, which) for who in ("pred", "ref") for which in ("w", "l")]
    return [(tensors[f"{who}_{w}"] - tensors[f"target_{w}"]).square().flatten(1).mean(1) for who, w in pairs]


@PREFERENCE
def test_the_loss_of_recorded_errors(recorded):
    for (half, beta), wanted in cases(recorded, r"dpo\.loss_(half|nohalf)_beta(\d+)_f64"):
        # Ours has the half in its formula; a convention without it has twice the beta.
        ours = dpo_loss(*errors(recorded), beta=float(beta) * (1 if half == "half" else 2))
        torch.testing.assert_close(ours.loss, wanted, **EXACT)
        torch.testing.assert_close(ours.margin, recorded.tensors["dpo.margin_f64"], **EXACT)


@PREFERENCE
def test_the_loss_of_recorded_velocities(recorded):
    get = recorded.under("dpo.").__getitem__
    noise = torch.zeros_like(get("target_w"))  # v* = noise - x, so x = -v*
    t = torch.full((len(noise),), 0.5)

    def network(who):
        answers = iter([get(f"{who}_w"), get(f"{who}_l")])
        return lambda x_t, t: next(answers)

    for (half, beta), wanted in cases(recorded, r"dpo\.loss_(half|nohalf)_beta(\d+)_f64"):
        ours = preference_loss(
            network("pred"),
            network("ref"),
            -get("target_w"),
            -get("target_l"),
            noise,
            t,
            beta=float(beta) * (1 if half == "half" else 2),
        )
        torch.testing.assert_close(ours.loss.double(), wanted, atol=2e-4, rtol=2e-4)


@PREFERENCE
def test_each_sde_step(recorded):
    get = recorded.under("sde.").__getitem__
    level = beside(recorded)["noise_level"]
    times, x = get("sigmas").tolist(), get("x_start").double()
    assert len(times) > 1
    for i, (start, end) in enumerate(pairwise(times)):
        step = grpo_step(get("velocities")[i], x, start, end, highest=times[1], level=level)
        assert step.std == pytest.approx(get(f"std{i}_f64").item() * (start - end) ** 0.5, abs=1e-10)
        torch.testing.assert_close(step.mean, get(f"mean{i}_f64"), **EXACT)
        x = get(f"x_after{i}_f64")
        torch.testing.assert_close(step.log_prob(x), get(f"logprob{i}_f64"), **EXACT)
        torch.testing.assert_close(step.mean + step.std * get("noises")[i], x, **EXACT)


@PREFERENCE
def test_the_whole_sde_trajectory(recorded):
    get = recorded.under("sde.").__getitem__
    level = beside(recorded)["noise_level"]
    call = iter(get("velocities"))
    drawn = grpo_trajectory(
        lambda x, t: next(call),
        get("x_start").double(),
        get("sigmas"),
        draw=lambda i, x: get("noises")[i],
        level=level,
    )
    for i, log_prob in enumerate(drawn.log_probs):
        torch.testing.assert_close(drawn.states[i + 1], get(f"x_after{i}_f64"), **EXACT)
        torch.testing.assert_close(log_prob, get(f"logprob{i}_f64"), **EXACT)
