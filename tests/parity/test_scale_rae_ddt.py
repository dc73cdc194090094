"""Scale-RAE's networks with a head against recorded numbers."""

from __future__ import annotations

import json
import re

import pytest
import torch

from tests.parity.bodies import inputs, load, tokens, with_and_without
from unimm.dit import DDT, DDTConfig
from unimm.flow import ALWAYS, NEVER, guided
from unimm.weights import ddt_map, ddt_sizes

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
BOTH = pytest.mark.parity("scale_rae/ddt_tiny_wide", "scale_rae/dit_tiny_useddt")


def depth_said(recorded):
    """Return the base's depth as the metadata gives it: in a list, or in words."""
    depth = json.loads(recorded.metadata["depth"])
    return (
        depth[0]
        if isinstance(depth, list)
        else int(re.search(r"encoder_depth=(\d+)", recorded.metadata["class"])[1])
    )


def build(recorded):
    theirs = recorded.under("param.")
    ends = ("x_embedder.proj.weight", "s_embedder.proj.weight", "t_embedder.mlp.2.weight")
    widths = {len(theirs[name]) for name in ends}
    known = {"depth": depth_said(recorded)} if len(widths) == 1 else {}  # then tensors do not tell it
    sizes = ddt_sizes(theirs, **known)
    rope = "feat_rope" if "feat_rope.freqs_cos" in theirs else "enc_rope"
    names = ddt_map(sizes, rope)
    return load(DDT(DDTConfig(**sizes)), names, theirs), names


@BOTH
def test_the_recorded_velocity_and_its_embedded_time(recorded):
    ddt, _ = build(recorded)
    x, t, y = inputs(recorded)
    with torch.no_grad():
        torch.testing.assert_close(ddt.time(t, ddt.frequencies), recorded.tensors["mid.t_emb"], **TOLERANCE)
        torch.testing.assert_close(ddt(x, t, y), tokens(recorded.tensors["out.v"]), **TOLERANCE)


@BOTH
def test_sizes_are_read_from_the_tensors(recorded):
    config = build(recorded)[0].config
    said = {key: json.loads(value) for key, value in recorded.metadata.items() if key != "class"}
    pairs = {
        "hidden_size": [config.width, config.head_width],
        "num_heads": [config.heads, config.head_heads],
        "depth": [config.depth, config.head_depth],
    }
    assert config.depth == depth_said(recorded)
    for key, value in said.items():
        assert value in (pairs[key], sum(pairs[key]))


@BOTH
@pytest.mark.parametrize(
    ("name", "interval"), [("cfg3_empty_bypass_interval", ALWAYS), ("cfg3_official_interval", NEVER)]
)
def test_guidance_acts_or_is_dead_as_recorded(recorded, name, interval):
    ddt, _ = build(recorded)
    x, t, y = inputs(recorded)
    with torch.no_grad():
        v = guided(*with_and_without(ddt, y), 3.0, interval)(x, t)
    both = torch.cat([v, v])  # recorded with the batch doubled: conditional rows, then unconditional
    torch.testing.assert_close(both, tokens(recorded.tensors[f"out.{name}"]), **TOLERANCE)


@BOTH
def test_names_read_and_written_back_are_the_published_ones(recorded):
    ddt, names = build(recorded)
    published = recorded.under("param.")
    parameters, tables = names.read(published)
    assert len(tables) in (3, 5)
    written = names.write(parameters | tables)
    assert written.keys() == published.keys()
    assert all(torch.equal(written[k], published[k]) for k in published)
