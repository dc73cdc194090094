"""LightningDiT, and the variant inside RAE, against recorded numbers.

LightningDiT's files have t = 0 as noise and x - e as the velocity: times and signs are turned here.
"""

from __future__ import annotations

import re

import pytest
import torch

from tests.parity.bodies import (
    GRADIENT_TOLERANCE,
    TOLERANCE,
    given,
    inputs,
    load,
    settings,
    tokens,
    with_and_without,
)
from unimm.dit import DiTConfig, LightningDiT
from unimm.flow import channel_guided, directed_loss
from unimm.weights import lightningdit_map, lightningdit_sizes

ALL = pytest.mark.parity("lightningdit/lightningdit_tiny_*", "rae/lightningdit_rae_variant_tiny")


def network(recorded):
    """Return the network, its names, and what turns recorded times and velocities into ours."""
    said, theirs = settings(recorded), recorded.under("state.")
    known = {} if said["use_rope"] or said["use_qknorm"] else {"heads": said["num_heads"]}
    sizes = lightningdit_sizes(theirs, **known)
    names = lightningdit_map(sizes)
    turned = said.get("time", "").startswith("t=0 noise")
    assert sizes["time_reversed"] == turned
    turn = (lambda t: 1 - t, torch.neg) if turned else (lambda t: t, lambda v: v)
    return load(LightningDiT(DiTConfig(**sizes)), names, theirs), names, *turn


@ALL
def test_sizes_are_read_from_the_tensors(recorded):
    config, said = network(recorded)[0].config, settings(recorded)
    assert config.width == said["hidden_size"]
    assert config.depth == said["depth"]
    assert config.heads == said["num_heads"]
    assert config.grid == said["input_size"]
    assert config.channels == said["in_channels"]
    assert config.num_classes == said["num_classes"]
    assert config.qk_norm == said["use_qknorm"]
    assert (config.mlp == "swiglu") == said["use_swiglu"]
    assert (config.norm == "rms") == said["use_rmsnorm"]
    assert config.rope == said["use_rope"]
    assert config.shift != said.get("wo_shift", False)
    assert config.patch_size == said["patch_size"]
    assert config.learn_sigma == said.get("learn_sigma", False)


@ALL
def test_the_recorded_velocity(recorded):
    dit, _, time, sign = network(recorded)
    x, t, y = inputs(recorded)
    with torch.no_grad():
        v = given(dit, y)(x, time(t))
    torch.testing.assert_close(v, sign(tokens(recorded.tensors["out.velocity"])), **TOLERANCE)


@pytest.mark.parity("lightningdit/lightningdit_tiny_released_flags")
def test_the_recorded_guidance_of_the_first_channels(recorded):
    dit, _, time, sign = network(recorded)
    x, _, y = inputs(recorded)
    cases = recorded.under("out.cfg")
    assert cases
    for name, wanted in cases.items():
        num, scale, t = re.fullmatch(r"(\d+)ch_scale([\d.]+)_t([\d.]+)", name).groups()
        t = time(torch.full((len(x),), float(t)))
        velocities = with_and_without(dit, y)
        with torch.no_grad():
            # Recorded with guidance off below t = 0.11 in time that runs towards the data.
            v = channel_guided(*velocities, float(scale), (0.0, 1 - 0.11), int(num))(x, t)
            without = velocities[1](x, t)
        wanted = sign(tokens(wanted))
        torch.testing.assert_close(v, wanted[: len(x)], **TOLERANCE)
        # The second half of the recorded batch is unconditional where it is not guided.
        torch.testing.assert_close(without[..., int(num) :], wanted[len(x) :, :, int(num) :], **TOLERANCE)


@pytest.mark.parity("lightningdit/lightningdit_tiny_released_flags")
def test_the_recorded_loss_and_every_gradient(recorded):
    dit, names, time, sign = network(recorded)
    x, _, y = inputs(recorded)
    noise, t = tokens(recorded.tensors["out.train_noise"]), time(recorded.tensors["out.train_t"])
    mse, cosine = directed_loss(given(dit, y), x, noise, t)
    torch.testing.assert_close(mse, recorded.tensors["out.mse_per_sample"], **TOLERANCE)
    torch.testing.assert_close(cosine, recorded.tensors["out.cos_per_sample"], **TOLERANCE)
    (mse.mean() + cosine.mean()).backward()
    gradients = names.write({name: p.grad for name, p in dit.named_parameters()})
    wanted = recorded.under("grad.")
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, **GRADIENT_TOLERANCE)


@ALL
def test_names_read_and_written_back_are_the_published_ones(recorded):
    _, names, *_ = network(recorded)
    published = recorded.under("state.")
    parameters, tables = names.read(published)
    written = names.write(parameters | tables)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[k], published[k]) for k in published)
