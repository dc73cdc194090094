"""DiT^DH against numbers recorded from RAE: velocities, guidance, a training loss and its gradients."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open

from tests.conftest import ROOT
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
from unimm.dit import DDT, DDTConfig
from unimm.flow import autoguided, guided, velocity_loss
from unimm.weights import ditdh_map, ditdh_sizes

ALL = pytest.mark.parity("rae/ditdh_tiny_*")


def build(theirs, config):
    """Return the network and its names; the config helps where tensors do not tell."""
    [base, head], known = config["hidden_size"], {}
    if base == head:
        known["depth"] = config["depth"][0]
    sizes = ditdh_sizes(theirs, **known)
    names = ditdh_map(sizes)
    return load(DDT(DDTConfig(**sizes)), names, theirs), names


def network(recorded):
    return build(recorded.under("state."), settings(recorded))


@ALL
def test_sizes_are_read_from_the_tensors(recorded):
    config, said = network(recorded)[0].config, settings(recorded)
    assert [config.width, config.head_width] == said["hidden_size"]
    assert [config.depth, config.head_depth] == said["depth"]
    assert [config.heads, config.head_heads] == said["num_heads"]
    assert config.grid == said["input_size"]
    assert config.channels == said["in_channels"]
    assert config.num_classes == said["num_classes"]
    assert config.qk_norm == said["use_qknorm"]
    assert (config.mlp == "swiglu") == said["use_swiglu"]
    assert (config.norm == "rms") == said["use_rmsnorm"]
    assert config.positions == said["use_pos_embed"]
    assert config.rope == said["use_rope"]
    assert config.shift != said["wo_shift"]
    assert config.patch_size == said["patch_size"]


@ALL
def test_the_recorded_velocity_and_its_embedded_time(recorded):
    ddt, _ = network(recorded)
    x, t, y = inputs(recorded)
    with torch.no_grad():
        torch.testing.assert_close(given(ddt, y)(x, t), tokens(recorded.tensors["out.velocity"]), **TOLERANCE)
        if "out.t_embed" in recorded.tensors:
            wanted = recorded.tensors["out.t_embed"]
            torch.testing.assert_close(ddt.time(t, ddt.frequencies), wanted, **TOLERANCE)


@ALL
def test_the_recorded_guidance(recorded):
    ddt, _ = network(recorded)
    x, t, y = inputs(recorded)
    for name, wanted in recorded.under("out.cfg").items():
        scale, low, high = map(float, re.fullmatch(r"([\d.]+)_interval_([\d.]+)_([\d.]+)", name).groups())
        with torch.no_grad():
            v = guided(*with_and_without(ddt, y), scale, (low, high))(x, t)
        torch.testing.assert_close(torch.cat([v, v]), tokens(wanted), **TOLERANCE)


@pytest.mark.parity("rae/ditdh_tiny_a")
def test_the_recorded_loss_and_every_gradient(recorded):
    ddt, names = network(recorded)
    x, _, y = inputs(recorded)
    noise, t = tokens(recorded.tensors["out.train_noise"]), recorded.tensors["out.train_t_shifted"]
    loss = velocity_loss(given(ddt, y), x, noise, t)
    torch.testing.assert_close(loss, recorded.tensors["out.train_loss_per_sample"], **TOLERANCE)
    loss.mean().backward()
    ours = {name: p.grad for name, p in ddt.named_parameters()} | {"frequencies": ddt.frequencies}
    gradients, wanted = names.write(ours), recorded.under("grad.")
    assert gradients.keys() - {"t_embedder.W"} == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, **GRADIENT_TOLERANCE)


@pytest.mark.parity("rae/ditdh_autoguidance")
def test_the_recorded_autoguidance(recorded):
    said = settings(recorded)
    x, t, y = inputs(recorded)
    velocities = [velocity_of(said[role], y) for role in ("main", "guide")]
    cases = recorded.under("out.interval_")
    assert cases
    for name, wanted in cases.items():
        with torch.no_grad():
            v = autoguided(*velocities, said["scale"], tuple(map(float, name.split("_"))))(x, t)
        torch.testing.assert_close(v, tokens(wanted), **TOLERANCE)


def velocity_of(name, y):
    """Return the velocity of another recorded network, with these labels."""
    with safe_open(ROOT / "rae" / f"{name}.safetensors", "pt") as file:
        keys = [key for key in file.keys() if key.startswith("state.")]  # noqa: SIM118 (not a dict)
        theirs = {key.removeprefix("state."): file.get_tensor(key) for key in keys}
        ddt, _ = build(theirs, json.loads(file.metadata()["config"]))
    return given(ddt, y)


@ALL
def test_names_read_and_written_back_are_the_published_ones(recorded):
    _, names = network(recorded)
    published = recorded.under("state.")
    parameters, tables = names.read(published)
    written = names.write(parameters | tables)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[k], published[k]) for k in published)
